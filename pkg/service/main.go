package service

import (
	"context"
	"fmt"
	"os"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// Main is the body of a service's main function: it reads the configuration, in which a variable of another service is a mistake, runs until a signal and gives the exit code.
func Main[C any](run func(context.Context, C) error, prepare func(*C)) int {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	var cfg C
	if err := config.Load(os.Environ(), &cfg, nil); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 2
	}
	prepare(&cfg)
	defer TuneGC()()
	if err := run(ctx, cfg); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}
