package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// Explore runs one load and prints what it cost, for who works on the speed of the path.
func Explore(ctx context.Context, root string, args []string) (err error) {
	flags := flag.NewFlagSet("explore", flag.ContinueOnError)
	load := Load{}
	flags.IntVar(&load.Connections, "connections", 64, "")
	flags.IntVar(&load.PayloadSize, "payload", 1024, "")
	flags.Float64Var(&load.Rate, "rate", 0, "")
	flags.DurationVar(&load.Duration, "duration", 10*time.Second, "")
	flags.Int64Var(&load.Window, "window", 0, "")
	large := flags.Bool("large", false, "give Postgres more memory")
	replicas := flags.Int("replicas", 1, "")
	statements := flags.Bool("statements", false, "print what the database's statements cost (pg_stat_statements)")
	tenants := flags.Int("tenants", 0, "make so many tenants")
	endpoints := flags.Int("endpoints", 10, "of each tenant")
	events := flags.Int("events", 0, "store so many past events")
	days := flags.Int("days", 30, "over so many days")
	profiles := flags.String("profiles", "", "folder for CPU profiles of the services")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := startRig(ctx, rigConfig{root: root, replicas: *replicas, statements: *statements, large: *large, log: os.Stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	if *tenants > 0 {
		if err := r.populate(ctx, *tenants, *endpoints); err != nil {
			return err
		}
	}
	if *events > 0 {
		if err := r.seed(ctx, *events, *days); err != nil {
			return err
		}
	}
	load.SinkCount = r.sinkURL("/_/count")
	warm := load
	warm.Duration, warm.Rate = 3*time.Second, 0
	if _, err := r.measure(ctx, "warm up", warm); err != nil {
		return err
	}
	var wg sync.WaitGroup
	if *profiles != "" {
		profiled := map[string]*stack.Process{"ingest": r.Ingest}
		if len(r.Deliveries) > 0 {
			profiled["delivery"] = r.Deliveries[0]
		}
		for name, p := range profiled {
			wg.Go(func() {
				body, err := stack.Get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.Admin, int(load.Duration.Seconds())))
				if err == nil {
					err = os.WriteFile(filepath.Join(*profiles, name+".pprof"), body, 0o600)
				}
				if err != nil {
					r.say("profile of %s: %v", name, err)
				}
			})
		}
	}
	if *statements {
		if _, err := r.Query(ctx, `SELECT pg_stat_statements_reset()::text`); err != nil {
			return err
		}
	}
	p, err := r.measure(ctx, "load", load)
	if err != nil {
		return err
	}
	wg.Wait()
	if *statements {
		text, err := r.Query(ctx, topStatements)
		if err != nil {
			return err
		}
		fmt.Println(text)
	}
	p.print()
	lost, duplicates, unknown, err := r.audit(ctx)
	fmt.Printf("lost %d, duplicates %d, unknown %d\n", lost, duplicates, unknown)
	return err
}

func (p *pass) print() {
	fmt.Printf("accepted %.0f/s, delivered %.0f/s, refused %v, backlog %v\n", p.perSecond(), p.deliveredPerSecond(), p.Refused, p.backlogs)
	fmt.Printf("accept p50 %v p99 %v max %v; end to end p50 %v p99 %v max %v\n", p.Accept.P50, p.Accept.P99, p.Accept.Max, p.sink.EndToEnd.P50, p.sink.EndToEnd.P99, p.sink.EndToEnd.Max)
	var names []string
	for name := range p.cpu {
		names = append(names, name)
	}
	sort.Strings(names)
	var total time.Duration
	for _, name := range names {
		total += p.cpu[name]
		fmt.Printf("  %-12s %6.1f µs/event  %5.2f cores  %4d MiB\n", name, us(p.cpu[name], p.Accepted), p.cores(name), p.memory[name]>>20)
	}
	fmt.Printf("  %-12s %6.1f µs/event  %5.2f cores; ours %d MiB; WAL %d B/event, JetStream %d B/event\n", "all", us(total, p.Accepted), p.cores(""), p.ours>>20, p.wal/p.Accepted, p.nats/p.Accepted)
}

func us(d time.Duration, n int64) float64 { return float64(d.Microseconds()) / float64(n) }

const topStatements = `
SELECT string_agg(format('%s calls, %s rows, plan %s ms, exec %s ms, WAL %s KiB: %s', calls, rows, total_plan_time::int, total_exec_time::int, (wal_bytes/1024)::bigint,
    left(regexp_replace(query, '\s+', ' ', 'g'), 90)), E'\n' ORDER BY total_plan_time + total_exec_time DESC)
FROM (SELECT * FROM pg_stat_statements ORDER BY total_plan_time + total_exec_time DESC LIMIT 14) s`
