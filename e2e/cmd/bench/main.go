// Command bench measures Beaconpost on this machine; docs/benchmarks.md says what and how.
//
//	bench [full]     everything, about six minutes
//	bench smoke      the same in seconds, to see that it works
//	bench scale      many tenants, endpoints, past events and replicas; about fifteen minutes and 20 GB of disk
//	bench soak       five minutes at 80 % of the maximum: does memory grow?
//	bench fairness   endpoints that hang and a tenant with a million queued events: what others notice; about five minutes
//	bench monitors   1,000, 10,000 and 100,000 monitors: is every check made, and when; about fifteen minutes
//	bench tracing    what tracing costs: off, 1 % of traces, all; about six minutes
//	bench costs      what a million events take of cores and disk, at 50 events/s and at more; about four minutes
//	bench explore    one load, with profiles and the cost of SQL statements; -h for its flags
//
// It runs in the repository's root, which it builds the system from.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/beaconpost/beaconpost/e2e/internal/bench"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if isRole, err := bench.RunRole(args); isRole {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	const root = "."
	what := "full"
	if len(args) > 0 {
		what, args = args[0], args[1:]
	}
	switch what {
	case "full":
		return bench.Run(ctx, bench.Full(root), os.Stdout, os.Stderr)
	case "smoke":
		return bench.Run(ctx, bench.Smoke(root), os.Stdout, os.Stderr)
	case "scale":
		return bench.RunScale(ctx, bench.FullScale(root), os.Stdout, os.Stderr)
	case "soak":
		return bench.RunSoak(ctx, bench.FullSoak(root), os.Stdout, os.Stderr)
	case "fairness":
		cfg, err := bench.FairnessOf(root, args)
		if err != nil {
			return err
		}
		return bench.RunFairness(ctx, cfg, os.Stdout, os.Stderr)
	case "monitors":
		cfg, err := bench.MonitorsOf(root, args)
		if err != nil {
			return err
		}
		return bench.RunMonitors(ctx, cfg, os.Stdout, os.Stderr)
	case "tracing":
		cfg, err := bench.TracingOf(root, args)
		if err != nil {
			return err
		}
		return bench.RunTracing(ctx, cfg, os.Stdout, os.Stderr)
	case "costs":
		cfg, err := bench.CostsOf(root, args)
		if err != nil {
			return err
		}
		return bench.RunCosts(ctx, cfg, os.Stdout, os.Stderr)
	case "explore":
		return bench.Explore(ctx, root, args)
	}
	return fmt.Errorf("unknown benchmark %q: expected full, smoke, scale, soak, fairness, monitors, tracing, costs or explore", what)
}
