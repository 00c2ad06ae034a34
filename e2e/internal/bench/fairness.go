package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// Fairness says what RunFairness does. Healthy tenants with an endpoint each are sent events at a steady rate all the time; what is measured is how long those take.
type Fairness struct {
	Root    string
	Tenants int // healthy ones
	Rate    float64
	During  time.Duration // of each measurement

	Hanging     int     // endpoints that never answer
	HangingRate float64 // deliveries per second for all of them
	Queued      int     // events of one tenant that wait
	Whole       bool    // wait until all of them are delivered, and say in which order they were
	Statements  bool    // print what the database's statements cost
}

// FairnessOf reads flags; without any it is the size that the promise speaks of.
func FairnessOf(root string, args []string) (Fairness, error) {
	flags := flag.NewFlagSet("fairness", flag.ContinueOnError)
	cfg := Fairness{Root: root}
	flags.IntVar(&cfg.Tenants, "tenants", 20, "healthy tenants, with an endpoint each")
	flags.Float64Var(&cfg.Rate, "rate", 200, "events per second for all of them")
	flags.DurationVar(&cfg.During, "during", 30*time.Second, "of each measurement")
	flags.IntVar(&cfg.Hanging, "hanging", 1000, "endpoints that never answer, in hundreds; 0: not that part")
	flags.Float64Var(&cfg.HangingRate, "hanging-rate", 200, "deliveries per second for all of these")
	flags.IntVar(&cfg.Queued, "queued", 1000000, "events of one tenant that wait; 0: not that part")
	flags.BoolVar(&cfg.Whole, "whole", false, "wait until all events that wait are delivered (17 minutes for a million at 1000/s), and say in which order they were")
	flags.BoolVar(&cfg.Statements, "statements", false, "print what the database's statements cost in each measurement")
	return cfg, flags.Parse(args)
}

// hangingPerTenant is how many of the endpoints that hang are one tenant's. Each listens to an event type of its own, so that an event is one delivery.
const hangingPerTenant = 100

// RunFairness measures what endpoints that hang, and a tenant with a long queue, mean for others.
func RunFairness(ctx context.Context, cfg Fairness, out, progress io.Writer) error {
	report := &Report{out: out}
	fmt.Fprintf(out, "%s\n", machine.Describe(ctx, cfg.Root))
	var errs []error
	if cfg.Hanging > 0 {
		errs = append(errs, fairness(ctx, cfg, report, progress, fmt.Sprintf("Beside %d endpoints that hang", cfg.Hanging), besideHanging))
	}
	if cfg.Queued > 0 {
		errs = append(errs, fairness(ctx, cfg, report, progress, fmt.Sprintf("Beside a tenant with %d queued events", cfg.Queued), besideQueued))
	}
	return errors.Join(append(errs, report.failure())...)
}

// fairness measures alone, then what others does.
func fairness(ctx context.Context, cfg Fairness, report *Report, progress io.Writer, title string, others func(context.Context, *neighbours) error) (err error) {
	r, err := startRig(ctx, rigConfig{root: cfg.Root, replicas: 1, statements: cfg.Statements, log: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.populate(ctx, cfg.Tenants, 1); err != nil {
		return err
	}
	n := &neighbours{rig: r, cfg: cfg, report: report}
	if n.trouble, err = startHelper(roleSink); err != nil {
		return err
	}
	defer n.trouble.stop()
	if _, err := r.measure(ctx, "warm up", n.load(5*time.Second)); err != nil {
		return err
	}
	alone, err := r.measure(ctx, "alone", n.load(cfg.During))
	if err != nil {
		return err
	}
	n.alone = alone.sink.EndToEnd
	report.heading(fmt.Sprintf("%s: %d other tenants, %.0f events/s", title, cfg.Tenants, cfg.Rate))
	r.beside = true
	if err := others(ctx, n); err != nil {
		return err
	}
	lost, duplicates, unknown, err := r.audit(ctx)
	report.note("Of the other tenants %d events accepted, lost %d, duplicates %d, never accepted %d.", len(r.accepted), lost, duplicates, unknown)
	if lost+duplicates+unknown > 0 {
		report.broken("events were lost or came twice")
	}
	return err
}

// neighbours are healthy tenants and whoever they share the system with.
type neighbours struct {
	*rig
	cfg     Fairness
	report  *Report
	trouble *helper // the sink of the others
	alone   Quantiles
}

func (n *neighbours) load(during time.Duration) Load {
	return Load{PayloadSize: 1 << 10, Connections: 64, Rate: n.cfg.Rate, Duration: during}
}

// compare measures the healthy tenants now.
func (n *neighbours) compare(ctx context.Context, when string) error {
	if n.cfg.Statements {
		if _, err := n.Query(ctx, `SELECT pg_stat_statements_reset()::text`); err != nil {
			return err
		}
	}
	p, err := n.measure(ctx, when, n.load(n.cfg.During))
	if err != nil {
		return err
	}
	got := p.sink.EndToEnd
	n.report.add(figure{name: when + ": end to end p50", value: ms(got.P50), unit: "ms", baseline: ms(n.alone.P50), of: "alone"})
	n.report.add(figure{name: when + ": end to end p99", value: ms(got.P99), unit: "ms", baseline: ms(n.alone.P99), of: "alone", aim: "ratio ≤ 2", met: got.P99 <= 2*n.alone.P99})
	n.report.note("%s: accepted p50 %.1f, p99 %.1f, most %.0f ms; end to end p99.9 %.1f ms, most %.0f ms (alone %.0f ms), %.2f cores, delivery %d MiB.", when,
		ms(p.Accept.P50), ms(p.Accept.P99), ms(p.Accept.Max), ms(got.P999), ms(got.Max), ms(n.alone.Max), p.cores(""), p.memory["delivery"]>>20)
	n.report.note("Cores: %s.", p.coresByProcess())
	n.report.refusals(p)
	if n.cfg.Statements {
		text, err := n.Query(ctx, topStatements)
		n.report.note("```\n%s\n```", text)
		return err
	}
	return nil
}

// other makes a tenant with endpoints at the other sink.
func (n *neighbours) other(ctx context.Context, name, path, status string, types []string) (key string, ids []string, err error) {
	token, err := n.OperatorToken()
	if err != nil {
		return "", nil, err
	}
	if _, key, err = n.CreateTenant(ctx, token, name); err != nil {
		return "", nil, err
	}
	for _, t := range types {
		var created struct{ ID string }
		if err := n.Call(ctx, key, "POST", "/v1/endpoints", map[string]any{"url": "http://" + n.trouble.addr + path, "status": status, "event_types": []string{t}}, &created); err != nil {
			return "", nil, err
		}
		ids = append(ids, created.ID)
	}
	return key, ids, nil
}

// besideHanging measures beside endpoints that answer, so that what the load itself costs is seen, then beside as many that hang.
func besideHanging(ctx context.Context, n *neighbours) error {
	err := n.besideMany(ctx, "answering", "/answers", func(ctx context.Context) error { return n.compare(ctx, "the same load for endpoints that answer") })
	if err != nil {
		return err
	}
	return n.besideMany(ctx, "hanging", hangPath, func(ctx context.Context) error {
		if err := n.compare(ctx, "from their first event on"); err != nil {
			return err
		}
		return n.compare(ctx, "later")
	})
}

// besideMany measures while the endpoints of other tenants are sent events.
func (n *neighbours) besideMany(ctx context.Context, name, path string, measure func(context.Context) error) error {
	var keys, types []string
	for i := range hangingPerTenant {
		types = append(types, fmt.Sprintf("%s.type%d", name, i))
	}
	for i := range n.cfg.Hanging / hangingPerTenant {
		key, _, err := n.other(ctx, fmt.Sprintf("%s %d", name, i), path, "enabled", types)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := runLoadProcess(ctx, roleProducer, Load{
			URL: n.APIURL + "/v1/events", Keys: keys, Types: types, PayloadSize: 1 << 10, Connections: 64,
			Rate: n.cfg.HangingRate, Duration: time.Hour,
		}, func(int64) {})
		if err != nil && ctx.Err() == nil {
			n.say("load of the others: %v", err)
		}
	}()
	defer func() {
		stop()
		<-ended
	}()
	if err := measure(ctx); err != nil {
		return err
	}
	states, err := n.Query(ctx, `SELECT string_agg(format('%s %s', n, breaker), ', ') FROM (SELECT breaker, count(*) AS n FROM endpoints GROUP BY breaker ORDER BY breaker) b`)
	n.report.note("Breakers: %s.", states)
	return err
}

// afterQueueing is how long the database has for what a million rows leave it to write.
const afterQueueing = 30 * time.Second

func besideQueued(ctx context.Context, n *neighbours) error {
	key, ids, err := n.other(ctx, "queueing", "/queued", "disabled", []string{"queued"})
	if err != nil {
		return err
	}
	n.say("queue %d events", n.cfg.Queued)
	queueing, stop := context.WithCancel(ctx)
	defer stop()
	var queued int64
	_, err = runLoadProcess(queueing, roleProducer, Load{
		URL: n.APIURL + "/v1/events", Keys: []string{key}, Types: []string{"queued"}, PayloadSize: 1 << 10, Connections: 64, Duration: time.Hour,
	}, func(accepted int64) {
		if queued = accepted; queued >= int64(n.cfg.Queued) {
			stop()
		}
	})
	if err != nil && queued < int64(n.cfg.Queued) {
		return err
	}
	// What storing them left to do for the disk is not what is measured.
	n.say("let the database write them")
	if !sleep(ctx, afterQueueing) {
		return ctx.Err()
	}
	if err := n.Call(ctx, key, "PATCH", "/v1/endpoints/"+ids[0], map[string]any{"status": "enabled"}, &struct{}{}); err != nil {
		return err
	}
	if err := n.compare(ctx, "from the start of its drain on"); err != nil {
		return err
	}
	if err := n.compare(ctx, "later"); err != nil {
		return err
	}
	drained, err := n.drained(ctx)
	n.report.note("Queued events %d; delivered while it was measured %d.", queued, drained)
	if err != nil || !n.cfg.Whole {
		return err
	}
	return n.wholeDrain(ctx, ids[0], queued)
}

func (n *neighbours) drained(ctx context.Context) (int, error) {
	body, err := stack.Get(ctx, "http://"+n.trouble.addr+"/_/count")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}

// drainOrder compares the order in which deliveries were attempted with that of their age: by how many places one is away at most.
const drainOrder = `
SELECT format('%s deliveries, attempted in %s, %s of them more than once; from its place by age one is away by %s at most, on average by %s', count(*),
    date_trunc('second', max(started_at) - min(started_at)), count(*) FILTER (WHERE number > 1), max(abs(by_age - by_time)), round(avg(abs(by_age - by_time)), 1))
FROM (SELECT a.started_at, a.number, row_number() OVER (ORDER BY a.delivery_id) AS by_age, row_number() OVER (ORDER BY a.started_at) AS by_time
    FROM delivery_attempts a JOIN deliveries d ON d.tenant_id = a.tenant_id AND d.id = a.delivery_id WHERE d.endpoint_id = '$endpoint') o`

// wholeDrain waits for the end of a drain.
func (n *neighbours) wholeDrain(ctx context.Context, endpoint string, queued int64) error {
	n.say("wait for the end of the drain")
	for last, moved := 0, time.Now(); int64(last) < queued; {
		got, err := n.drained(ctx)
		if err != nil {
			return err
		}
		if got != last {
			last, moved = got, time.Now()
		}
		if time.Since(moved) > time.Minute {
			return fmt.Errorf("the drain stopped with %d of %d delivered", last, queued)
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
	order, err := n.Query(ctx, strings.Replace(drainOrder, "$endpoint", endpoint, 1))
	n.report.note("The whole drain: %s.", order)
	return err
}
