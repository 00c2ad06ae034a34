// Package beaconpost is the single binary's command line. It starts the services as they are; it owns no part of their work.
package beaconpost

//go:generate go run ./internal/configdoc
//go:generate go run ./internal/metricsdoc
//go:generate go run ./internal/dashboards

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/listen"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/monitors"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/send"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/up"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

// Main runs the command line args and gives the exit code: 0, 1 for a failure, 2 for wrong usage or configuration.
func Main(args []string, version string) int {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	defer service.TuneGC()()
	err := command(version).Run(ctx, args)
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(os.Stderr, "beaconpost:", err)
	_, unusable := errors.AsType[*config.Error](err)
	if _, ok := errors.AsType[*usageError](err); ok || unusable {
		return 2
	}
	return 1
}

func command(version string) *cli.Command {
	root := &cli.Command{
		Name:  "beaconpost",
		Usage: "webhooks and monitors for SaaS platforms",
		Description: "beaconpost up runs everything on this machine. The services can also run one by one, configured by BEACONPOST_* variables.\n" +
			"See the README for a tour.",
		Version: version,
		Commands: []*cli.Command{
			up.Command(version),
			serviceCommand("ingest", "run the ingest service: events in, endpoints, API keys", ingest.Run, func(c *ingest.Config) { c.Version, c.LogWriter = version, os.Stderr }),
			serviceCommand("delivery", "run the delivery service: webhooks out, retries, records", delivery.Run, func(c *delivery.Config) { c.Version, c.LogWriter = version, os.Stderr }),
			serviceCommand("monitor", "run the monitor service", monitor.Run, func(c *monitor.Config) { c.Version, c.LogWriter = version, os.Stderr }),
			migrateCommand(),
			tokenCommand(),
			keygenCommand(),
			secretsCommand(),
			listen.Command(),
			send.Command(),
			monitors.Command(),
			versionCommand(version),
		},
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // Main decides
	}
	beStrict(root)
	return root
}

// serviceCommand runs one service, configured by the environment alone. Variables of the other services may be set too.
func serviceCommand[C any](name, usage string, run func(context.Context, C) error, prepare func(*C)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Description: "Configured by BEACONPOST_* variables; see services/" + name + "/README.md.",
		Action: func(ctx context.Context, _ *cli.Command) error {
			var cfg C
			if err := config.Load(os.Environ(), &cfg, knownVariables()); err != nil {
				return err
			}
			prepare(&cfg)
			return run(ctx, cfg)
		},
	}
}

// knownVariables are those of all services and commands: one environment may serve them all.
func knownVariables() []string {
	return up.KnownVariables()
}

func versionCommand(version string) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version",
		Action: func(_ context.Context, cmd *cli.Command) error {
			_, err := fmt.Fprintln(cmd.Root().Writer, version)
			return err
		},
	}
}
