package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
)

// Costs says how RunCosts measures.
type Costs struct {
	Root        string
	Connections int
	During      time.Duration // of each load
	Rates       []float64     // events/s; 0: as many as there can be
}

// CostsOf reads flags.
func CostsOf(root string, args []string) (Costs, error) {
	cfg := Costs{Root: root, Rates: []float64{50, 200, 1000, 5000, 0}}
	flags := flag.NewFlagSet("costs", flag.ContinueOnError)
	flags.IntVar(&cfg.Connections, "connections", 256, "producer's connections")
	flags.DurationVar(&cfg.During, "for", 30*time.Second, "length of each load")
	return cfg, flags.Parse(args)
}

// storedBytes is what tables of events, deliveries and attempts take with their indexes, without what every partition has that is empty.
const storedBytes = `SELECT sum(pg_total_relation_size(c.oid))::bigint::text FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
	WHERE i.inhparent IN ('webhook_events'::regclass, 'deliveries'::regclass, 'delivery_attempts'::regclass)`

// RunCosts measures what a million events take of cores, disk and network, at one rate after another: batches are the fuller the more there is, and so the cheaper.
func RunCosts(ctx context.Context, cfg Costs, out, progress io.Writer) (err error) {
	r, err := startRig(ctx, rigConfig{root: cfg.Root, replicas: 1, log: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	report := &Report{out: out}
	fmt.Fprintf(out, "%s\n\nEvents of 1 KiB with one delivery, which the first attempt delivers; %s at each rate, idle processes included.\n", machine.Describe(ctx, cfg.Root), cfg.During)
	load := Load{PayloadSize: 1 << 10, Connections: cfg.Connections, Duration: 5 * time.Second, SinkCount: r.sinkURL("/_/count")}
	if _, err := r.measure(ctx, "warm up", load); err != nil {
		return err
	}
	load.Duration = cfg.During
	fmt.Fprintf(out, "\n| events/s | ingest | delivery | Postgres | NATS | together, core-seconds per million | core-hours per million | WAL per million | stored per million |\n")
	fmt.Fprintf(out, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, load.Rate = range cfg.Rates {
		before, err := r.stored(ctx)
		if err != nil {
			return err
		}
		p, err := r.measure(ctx, fmt.Sprintf("%.0f/s", load.Rate), load)
		if err != nil {
			return err
		}
		report.refusals(p)
		after, err := r.stored(ctx)
		if err != nil {
			return err
		}
		per := func(process string) float64 { return perThousand(p.cpu[process], p.Accepted) }
		all := per("ingest") + per("delivery") + per("postgres") + per("nats-server")
		rate := fmt.Sprintf("%.0f", load.Rate)
		if load.Rate == 0 {
			rate = fmt.Sprintf("as many as there can be: %.0f", p.deliveredPerSecond())
		}
		const gigabyte = 1e9 / 1e6 // bytes of an event in gigabytes per million
		fmt.Fprintf(out, "| %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.3f | %.2f GB | %.2f GB |\n", rate, per("ingest"), per("delivery"), per("postgres"), per("nats-server"), all, all/3600,
			float64(p.wal)/float64(p.Accepted)/gigabyte, float64(after-before)/float64(p.Accepted)/gigabyte)
	}
	lost, duplicates, unknown, err := r.audit(ctx)
	report.note("Events accepted %d, lost %d, duplicates %d, never accepted %d.", len(r.accepted), lost, duplicates, unknown)
	if lost+duplicates+unknown > 0 {
		report.broken("events were lost or came twice")
	}
	return errors.Join(err, report.failure())
}

// stored is storedBytes.
func (r *rig) stored(ctx context.Context) (int64, error) {
	text, err := r.Query(ctx, storedBytes)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}
