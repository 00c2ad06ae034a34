package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// Config says how a run goes.
type Config struct {
	Root     string // of the repository
	Binaries stack.Binaries
	From     string    // commit or tag of an older version, which runs first; "": none
	Log      io.Writer // what is going on, for who waits
	Data     string    // directory for everything; "": one that is removed

	Rate    int           // events per second, of all tenants
	Broken  time.Duration // how long something stays broken
	Settle  time.Duration // that what was accepted may take to arrive once everything is whole
	Short   bool          // few phases
	Only    []string      // names of phases beside the first; none: all
	Environ []string      // variables of the services, over the defaults
	older   string        // program of From
}

// Full is a run as the documentation has it.
func Full(root string) Config {
	return Config{Root: root, Rate: 150, Broken: 25 * time.Second, Settle: 4 * time.Minute}
}

// Smoke is that it works, in a minute or two.
func Smoke(root string) Config {
	return Config{
		Root: root, Rate: 60, Broken: 8 * time.Second, Settle: 3 * time.Minute, Short: true,
		Environ: []string{"BEACONPOST_DELIVERY_RECONCILE_GRACE=10s", "BEACONPOST_DELIVERY_RECONCILE_INTERVAL=500ms"},
	}
}

// outcome is what a phase did.
type outcome struct {
	phase
	*window
	took     time.Duration // until everything was whole
	caughtUp time.Duration // from then until all that was accepted had been taken
	missing  int
	repeated int // answers of 200 beyond the first
	missed   int // slots of monitors
}

// Run runs the phases and reports.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	if cfg.Data == "" {
		if cfg.Data, err = os.MkdirTemp("", "beaconpost-cluster-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.Data)) }()
	}
	dir := filepath.Join(cfg.Data, "system")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(cfg.Data, 0o755)); err != nil { //nolint:gosec // Postgres is another user
		return nil, err
	}
	if cfg.Binaries == (stack.Binaries{}) {
		cfg.say("building")
		if cfg.Binaries, err = stack.Build(ctx, cfg.Root, dir); err != nil {
			return nil, err
		}
	}
	if cfg.From != "" {
		cfg.say("building %s", cfg.From)
		if cfg.older, err = stack.BuildRevision(ctx, cfg.Root, cfg.From, cfg.Data); err != nil {
			return nil, err
		}
	}
	cfg.say("starting")
	s, err := start(ctx, cfg)
	defer func() {
		if stopErr := s.stop(); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("stop: %w", stopErr))
		}
	}()
	if err != nil {
		return nil, err
	}
	report := &Report{described: machine.Describe(ctx, cfg.Root), cfg: cfg}
	if err := s.play(ctx, report); err != nil {
		for name, end := range s.stack.Logs() {
			cfg.say("the end of %s:\n%s", name, end)
		}
		return nil, err
	}
	report.finish()
	return report, nil
}

func (cfg *Config) say(format string, args ...any) {
	if cfg.Log != nil {
		fmt.Fprintf(cfg.Log, time.Now().UTC().Format(time.TimeOnly)+"  "+format+"\n", args...)
	}
}

func (s *system) play(ctx context.Context, report *Report) error {
	s.clock.begin()
	s.startLoad(ctx)
	time.Sleep(s.cfg.Broken / 2) // caches and connections
	s.settle(ctx)
	for n, p := range s.cfg.phases() {
		if n > 0 && len(s.cfg.Only) > 0 && !slices.Contains(s.cfg.Only, p.Name) {
			continue
		}
		o, err := s.perform(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		report.outcomes = append(report.outcomes, o)
		s.cfg.say("  %s after, %d missing, %d repeated, failed tries: %s", o.caughtUp.Round(100*time.Millisecond), o.missing, o.repeated, o.failures())
	}
	s.clock.begin()
	s.endLoad()
	return s.close(ctx, report)
}

func (s *system) perform(ctx context.Context, p phase) (*outcome, error) {
	s.cfg.say("%s: %s", p.Name, p.What)
	before := s.repeated()
	o := &outcome{phase: p, window: s.clock.begin()}
	if err := p.run(ctx, s); err != nil {
		return nil, err
	}
	whole := time.Now()
	o.took = whole.Sub(o.from)
	o.missing = s.settle(ctx)
	o.caughtUp, o.repeated = time.Since(whole), s.repeated()-before
	return o, ctx.Err()
}

func (s *system) repeated() (repeated int) {
	for _, to := range s.sinks {
		_, n, _ := to.Counts()
		repeated += n
	}
	return repeated
}

// close reads what has to be true in the end.
func (s *system) close(ctx context.Context, report *Report) error {
	report.missing = s.settle(ctx)
	report.accepted, _ = s.missing()
	for _, to := range s.sinks {
		_, _, unsigned := to.Counts()
		report.unsigned += unsigned
	}
	for _, d := range s.deployments() {
		report.late += d.late
	}
	if _, err := s.leader(ctx); err != nil {
		return err
	}
	for _, count := range []struct {
		into *int
		sql  string
	}{
		{&report.pending, `SELECT count(*)::text FROM deliveries WHERE status <> 'delivered'`},
		{&report.stored, `SELECT count(*)::text FROM webhook_events WHERE event_type = 'order.paid'`},
		{&report.incidents, `SELECT count(*)::text FROM incidents`},
		{&report.slots, `SELECT count(DISTINCT (monitor_id, slot))::text FROM monitor_checks`},
	} {
		if err := s.count(ctx, count.into, count.sql); err != nil {
			return err
		}
	}
	for _, o := range report.outcomes {
		if err := s.count(ctx, &o.missed, missedSlots, o.from, o.until); err != nil {
			return err
		}
	}
	return nil
}

// missedSlots counts the slots of monitors without a check, of which the next check was made within a span of time.
const missedSlots = `WITH made AS (SELECT monitor_id, slot, min(started_at) AS at FROM monitor_checks WHERE confirmation = 0 GROUP BY monitor_id, slot),
	gaps AS (SELECT at, slot - lag(slot) OVER (PARTITION BY monitor_id ORDER BY slot) - 1 AS gap FROM made)
	SELECT coalesce(sum(gap), 0)::text FROM gaps WHERE gap > 0 AND at >= $1 AND at < $2`

func (s *system) count(ctx context.Context, into *int, sql string, args ...any) error {
	text, err := s.stack.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	*into, err = strconv.Atoi(text)
	return err
}
