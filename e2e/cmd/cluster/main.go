// Command cluster runs Beaconpost on three machines as the Helm chart does, without Kubernetes, and breaks it under load: rolling restarts and upgrades, NATS servers that
// die, hosts that are cut off. docs/cluster.md has what a run showed.
//
//	cluster            everything, about a quarter of an hour
//	cluster smoke      few phases, in two minutes
//
// It runs in the repository's root, which it builds the system from, as root on Linux: machines are network namespaces. -h lists the flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/beaconpost/beaconpost/e2e/internal/cluster"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	const root = "."
	cfg := cluster.Full(root)
	if len(args) > 0 && args[0] == "smoke" {
		cfg, args = cluster.Smoke(root), args[1:]
	}
	cfg.Log = os.Stderr
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.StringVar(&cfg.From, "from", "", "commit or tag of an older version: it runs first, is upgraded, rolled back and upgraded again")
	flags.StringVar(&cfg.Data, "data", "", "directory that keeps logs")
	flags.IntVar(&cfg.Rate, "rate", cfg.Rate, "events per second")
	only := flags.String("only", "", "names of phases beside the first, separated by semicolons; none: all")
	write := flags.Bool("write", false, "put the result into docs/cluster.md")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown %q: expected smoke, or flags", flags.Arg(0))
	}
	if *only != "" {
		cfg.Only = strings.Split(*only, ";")
	}
	report, err := cluster.Run(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Print(report.Text)
	if *write {
		err = report.Write(root)
	}
	return errors.Join(err, report.Failure())
}
