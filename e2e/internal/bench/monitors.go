package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// Monitors says what RunMonitors does.
type Monitors struct {
	Root     string
	Counts   []int // of monitors, each a run of its own
	Interval time.Duration
	During   time.Duration // of each measurement
	Probed   int           // so many monitors this machine can check beside everything else; with more the checks are not made, only their schedule is
}

// MonitorsOf reads flags; without any it is the size that the promise speaks of.
func MonitorsOf(root string, args []string) (Monitors, error) {
	flags := flag.NewFlagSet("monitors", flag.ContinueOnError)
	cfg := Monitors{Root: root}
	counts := flags.String("counts", "1000,10000,100000", "monitors, a run for each")
	flags.DurationVar(&cfg.Interval, "interval", 30*time.Second, "of every monitor")
	flags.DurationVar(&cfg.During, "during", 2*time.Minute, "of each measurement, a multiple of the interval")
	flags.IntVar(&cfg.Probed, "probed", 10000, "with more monitors than these checks are scheduled and recorded, but not made")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	for _, text := range strings.Split(*counts, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return cfg, fmt.Errorf("counts: expected numbers separated by commas, got %q", *counts)
		}
		cfg.Counts = append(cfg.Counts, n)
	}
	return cfg, nil
}

// RunMonitors measures whether every check is made, when, and what that costs; then what a restart of the broker does.
func RunMonitors(ctx context.Context, cfg Monitors, out, progress io.Writer) error {
	report := &Report{out: out}
	fmt.Fprintf(out, "%s\n", machine.Describe(ctx, cfg.Root))
	var errs []error
	for _, n := range cfg.Counts {
		errs = append(errs, monitors(ctx, cfg, n, report, progress))
	}
	return errors.Join(append(errs, report.failure())...)
}

// watching is a system with monitors.
type watching struct {
	*stack.Stack
	cfg    Monitors
	n      int
	sink   *helper
	log    io.Writer
	report *Report
}

func monitors(ctx context.Context, cfg Monitors, n int, report *Report, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "beaconpost-bench-")
	if err != nil {
		return err
	}
	w := &watching{cfg: cfg, n: n, log: progress, report: report}
	defer func() { err = errors.Join(err, w.end(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the postgres user has to get through
		return err
	}
	w.say("%d monitors: building and starting", n)
	bin, err := stack.Build(ctx, cfg.Root, dir)
	if err != nil {
		return err
	}
	if w.sink, err = startHelper(roleSink); err != nil {
		return err
	}
	environ := []string{"BEACONPOST_LOG_LEVEL=info", fmt.Sprintf("BEACONPOST_MONITOR_DRY_RUN=%t", n > cfg.Probed)}
	if w.Stack, err = stack.Start(ctx, stack.Config{Dir: dir, Binaries: bin, DiscardLogs: true, Environ: environ}); err != nil {
		return err
	}
	if err := w.populate(ctx); err != nil {
		return err
	}
	return w.measure(ctx)
}

func (w *watching) end(dir string) error {
	var err error
	if w.Stack != nil {
		err = w.Stop()
	}
	if w.sink != nil {
		w.sink.stop()
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func (w *watching) say(format string, args ...any) {
	fmt.Fprintf(w.log, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// populate stores the monitors as the API would, before anybody watches.
func (w *watching) populate(ctx context.Context) error {
	w.say("storing")
	conn, err := pgx.Connect(ctx, w.DatabaseURL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // everything is committed
	_, err = conn.Exec(ctx, fmt.Sprintf(`
WITH made AS (
    INSERT INTO monitors (tenant_id, id, name, kind, spec, interval_ms, timeout_ms, failure_threshold, recovery_threshold, confirm, paused, regions)
    SELECT t.id, (left(beaconpost_uuid_floor(now())::text, 13) || '-7' || substr(gen_random_uuid()::text, 16))::uuid, 'monitor ' || n, 'http', '{"kind":"http","url":"http://%s/ok"}', %d, 5000, 3, 2, true, false, '{default}'
    FROM (SELECT id FROM tenants ORDER BY id LIMIT 1) t, generate_series(1, %d) n RETURNING tenant_id, id
), states AS (
    INSERT INTO monitor_states (tenant_id, monitor_id, state, rules) SELECT tenant_id, id, jsonb_build_object('status', 'unknown', 'since', to_jsonb(now()), 'verdict', 'unknown'), 1 FROM made
)
INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, status) SELECT tenant_id, id, now(), 'unknown' FROM made`, w.sink.addr, w.cfg.Interval.Milliseconds(), w.n))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `ANALYZE`)
	return err
}

// resources are what the processes used until a moment.
type resources struct {
	at                       time.Time
	monitor, broker, pg      time.Duration
	monitorMemory, natsBytes int64
}

func (w *watching) resources() resources {
	return resources{time.Now(), cpuOf(w.Monitor.PID()), cpuOf(w.NATS.PID()), treeCPU(w.Postgres.PID()), residentOf(w.Monitor.PID()), residentOf(w.NATS.PID())}
}

func (w *watching) measure(ctx context.Context) error {
	began := time.Now()
	if err := w.StartMonitor(ctx); err != nil {
		return err
	}
	w.say("watching")
	if err := w.allScheduled(ctx); err != nil {
		return err
	}
	scheduled := time.Since(began)
	dry := map[bool]string{true: ", checks not made"}[w.n > w.cfg.Probed]
	w.report.heading(fmt.Sprintf("%d monitors every %s%s", w.n, w.cfg.Interval, dry))
	w.report.add(figure{name: "start until every monitor was checked", value: scheduled.Seconds(), unit: "s", baseline: w.cfg.Interval.Seconds(), of: "the interval"})
	herd, err := w.herd(ctx, began, scheduled)
	if err != nil {
		return err
	}
	perSecond := float64(w.n) / w.cfg.Interval.Seconds()
	w.report.add(figure{name: "most checks begun in a second, at the start", value: herd, unit: "/s", baseline: perSecond, of: "evenly spread"})
	if err := w.steady(ctx, perSecond); err != nil {
		return err
	}
	return w.restarted(ctx, perSecond)
}

// allScheduled waits until every monitor has been checked.
func (w *watching) allScheduled(ctx context.Context) error {
	const patience = 5 * time.Minute
	for began := time.Now(); ; {
		text, err := w.Query(ctx, `SELECT count(*)::text FROM monitor_states WHERE reported_at IS NOT NULL`)
		if err != nil {
			return err
		}
		if text == strconv.Itoa(w.n) {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("only %s of %d monitors were checked within %s", text, w.n, patience)
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// herd gives the most checks that began in one second since a moment.
func (w *watching) herd(ctx context.Context, since time.Time, during time.Duration) (float64, error) {
	text, err := w.Query(ctx, `
SELECT coalesce(max(n), 0)::text FROM (SELECT count(*) AS n FROM monitor_checks WHERE started_at >= $1 AND started_at < $2 GROUP BY date_trunc('second', started_at)) s`, since, since.Add(during))
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

// steady measures a while in which nothing happens. Slots are counted by what is stored of them: each monitor has one in every interval.
func (w *watching) steady(ctx context.Context, perSecond float64) error {
	w.say("measuring for %s", w.cfg.During)
	from, before := time.Now(), w.resources()
	if !sleep(ctx, w.cfg.During) {
		return ctx.Err()
	}
	after, until := w.resources(), time.Now()
	if !sleep(ctx, 5*time.Second) { // what began is recorded
		return ctx.Err()
	}
	slots, err := w.slots(ctx, from, until)
	if err != nil {
		return err
	}
	promised := perSecond * until.Sub(from).Seconds()
	w.report.add(figure{name: "checks made", value: slots.made, baseline: promised, of: "promised", aim: "ratio ≥ 0.999", met: slots.made >= 0.999*promised})
	w.report.add(figure{name: "results stored", value: slots.made / until.Sub(from).Seconds(), unit: "/s"})
	w.report.add(figure{name: "slots missed", value: slots.missed, baseline: promised, of: "promised"})
	w.report.add(figure{name: "lag p50", value: slots.p50, unit: "ms"})
	w.report.add(figure{name: "lag p99", value: slots.p99, unit: "ms", aim: "≤ 1,000 ms", met: slots.p99 <= 1000})
	w.report.add(figure{name: "lag, most", value: slots.most, unit: "ms"})
	w.report.add(figure{name: "most checks begun in a second", value: slots.herd, unit: "/s", baseline: perSecond, of: "evenly spread"})
	span := after.at.Sub(before.at).Seconds()
	cores := func(a, b time.Duration) float64 { return (a - b).Seconds() / span }
	w.report.add(figure{name: "monitor: cores", value: cores(after.monitor, before.monitor)})
	w.report.add(figure{name: "nats-server: cores", value: cores(after.broker, before.broker)})
	w.report.add(figure{name: "postgres: cores", value: cores(after.pg, before.pg)})
	w.report.add(figure{name: "all three, per 1,000 checks", value: 1000 * (cores(after.monitor, before.monitor) + cores(after.broker, before.broker) + cores(after.pg, before.pg)) * span / slots.made, unit: unitCPU})
	w.report.add(figure{name: "monitor: resident memory", value: float64(after.monitorMemory) / (1 << 20), unit: "MiB"})
	w.report.add(figure{name: "nats-server: resident memory", value: float64(after.natsBytes) / (1 << 20), unit: "MiB"})
	return nil
}

// slotCounts is what is stored of a while.
type slotCounts struct{ made, missed, p50, p99, most, herd float64 }

const countSlots = `
SELECT concat_ws(' ', count(*), coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY lag_us), 0) / 1000, coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY lag_us), 0) / 1000,
    coalesce(max(lag_us), 0) / 1000.0, (SELECT coalesce(sum(missed), 0) FROM monitor_rollups WHERE step = '5m'))
FROM monitor_checks WHERE confirmation = 0 AND started_at >= $1 AND started_at < $2`

func (w *watching) slots(ctx context.Context, from, until time.Time) (c slotCounts, err error) {
	text, err := w.Query(ctx, countSlots, from, until)
	if err != nil {
		return c, err
	}
	if _, err := fmt.Sscan(text, &c.made, &c.p50, &c.p99, &c.most, &c.missed); err != nil {
		return c, err
	}
	c.herd, err = w.herd(ctx, from, until.Sub(from))
	return c, err
}

// restarted kills the broker, keeps it away for longer than an interval, and looks at what happens when it is back.
func (w *watching) restarted(ctx context.Context, perSecond float64) error {
	w.say("the broker dies")
	w.NATS.Kill()
	if !sleep(ctx, w.cfg.Interval+10*time.Second) {
		return ctx.Err()
	}
	back := time.Now()
	if err := w.StartNATS(ctx); err != nil {
		return err
	}
	w.say("the broker is back")
	if !sleep(ctx, 3*w.cfg.Interval) {
		return ctx.Err()
	}
	early, err := w.herd(ctx, back, w.cfg.Interval)
	if err != nil {
		return err
	}
	first, err := w.Query(ctx, `SELECT coalesce(extract(epoch FROM min(started_at) - $1), -1)::text FROM monitor_checks WHERE started_at > $1`, back)
	if err != nil {
		return err
	}
	later, err := w.slots(ctx, back.Add(2*w.cfg.Interval), back.Add(3*w.cfg.Interval))
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return err
	}
	w.report.add(figure{name: "broker killed, back after an interval and 10 s: first check after", value: seconds, unit: "s"})
	w.report.add(figure{name: "most checks begun in a second after that", value: early, unit: "/s", baseline: perSecond, of: "evenly spread"})
	promised := perSecond * w.cfg.Interval.Seconds()
	w.report.add(figure{name: "checks made in the third interval after that", value: later.made, baseline: promised, of: "promised", aim: "ratio ≥ 0.99", met: later.made >= 0.99*promised})
	w.report.add(figure{name: "lag p99 in it", value: later.p99, unit: "ms"})
	w.report.add(figure{name: "most checks begun in a second in it", value: later.herd, unit: "/s", baseline: perSecond, of: "evenly spread"})
	return nil
}
