// Command gameday breaks a running system on purpose and says which alerts and panels showed it; docs/observability.md has a day's result.
//
//	gameday [run]           everything with the alerts as they are, about an hour
//	gameday smoke           one fault in less than a minute, with what alerts wait for divided by thirty: that it works
//	gameday report DIR...   on what earlier runs have left in their -data, one after the other
//
// It runs in the repository's root, which it builds the system from. -h lists the flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/beaconpost/beaconpost/e2e/internal/gameday"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gameday:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	const root = "."
	what := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		what, args = args[0], args[1:]
	}
	if !slices.Contains([]string{"run", "smoke", "report"}, what) {
		return fmt.Errorf("unknown %q: expected run, smoke or report", what)
	}
	cfg := gameday.Full(root)
	if what == "smoke" {
		cfg = gameday.Smoke(root)
	}
	cfg.Log = os.Stderr
	flags := flag.NewFlagSet("gameday "+what, flag.ContinueOnError)
	flags.StringVar(&cfg.Data, "data", "", "directory that keeps what was recorded")
	write := flags.Bool("write", false, "put the result into docs/observability.md")
	only := flags.String("only", "", "names of faults, separated by semicolons, and no wait for the history that RegionSilent looks at; none: all")
	flags.BoolVar(&cfg.Patient, "patient", false, "wait for alerts that take half an hour")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *only != "" {
		cfg.Only = strings.Split(*only, ";")
	}
	var report *gameday.Report
	var err error
	if what == "report" {
		report, err = gameday.Again(ctx, root, flags.Args(), cfg.Patient)
	} else {
		report, err = gameday.Run(ctx, cfg)
	}
	if err != nil {
		return err
	}
	fmt.Print(report.Text)
	if *write {
		err = report.Write(root)
	}
	return errors.Join(err, report.Failure())
}
