package gameday

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
	"github.com/beaconpost/beaconpost/e2e/internal/observe"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// Config says how a game day goes.
type Config struct {
	Root     string // of the repository
	Data     string // where what was recorded stays; "": nowhere
	Binaries stack.Binaries
	Log      io.Writer // what is going on, for who waits

	Tenants  int           // that send steadily
	Pace     time.Duration // between two events of one of them
	Interval time.Duration // of scrapes and evaluations
	Warm     time.Duration // from the start until it counts
	Calm     time.Duration // before each fault
	Settle   time.Duration // that what fired may take to end, once healed
	Drain    time.Duration // that what was accepted may take to arrive in the end
	Hasten   int           // divides the `for` of all alerts; 1: as they are
	Patient  bool          // wait for alerts that take half an hour
	Only     []string      // names of faults; none: all
	Environ  []string      // variables of the services, over the defaults
	short    bool          // the smoke run's faults
}

// Full is a game day as the documentation has it.
func Full(root string) Config {
	return Config{
		Root: root, Tenants: 12, Pace: 300 * time.Millisecond, Interval: 5 * time.Second, Warm: 2 * time.Minute, Calm: 90 * time.Second, Settle: 6 * time.Minute, Drain: 3 * time.Minute, Hasten: 1,
	}
}

// Smoke is that the program works: NATS goes down, and what alerts wait for takes a thirtieth of its time.
func Smoke(root string) Config {
	return Config{
		Root: root, Tenants: 3, Pace: 200 * time.Millisecond, Interval: time.Second, Warm: 4 * time.Second, Calm: 6 * time.Second, Settle: 30 * time.Second, Drain: 2 * time.Minute, Hasten: 30,
		Environ: []string{"BEACONPOST_DELIVERY_RECONCILE_GRACE=10s", "BEACONPOST_DELIVERY_RECONCILE_INTERVAL=500ms"}, short: true,
	}
}

// Day is when what happened; the rest is in what Prometheus recorded.
type Day struct {
	Described string
	Interval  time.Duration
	Hasten    int
	Calm      time.Duration
	Started   time.Time // when it began to count
	Ended     time.Time
	Accepted  int // events of the tenants that send steadily
	Missing   int // of them never arrived
	Episodes  []Episode
}

// Episode is one fault.
type Episode struct {
	Fault                   fault
	Injected, Healed, Ended time.Time
}

// faults are those of this run.
func (cfg *Config) faults() (list []fault) {
	if cfg.short {
		return []fault{natsDown(false)}
	}
	for _, f := range faults(cfg.Patient) {
		if len(cfg.Only) == 0 || slices.Contains(cfg.Only, f.Name) {
			list = append(list, f)
		}
	}
	return list
}

const (
	dayFile  = "game-day.json"
	lookEach = 5 // looks at what fires, per interval of evaluation
)

// Run has a game day, and reports.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	remove, err := makeData(&cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if cfg.Binaries == (stack.Binaries{}) {
		cfg.say("building")
		if cfg.Binaries, err = stack.Build(ctx, cfg.Root, filepath.Join(cfg.Data, "system")); err != nil {
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
	day, err := s.play(ctx)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(day, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(cfg.Data, dayFile), text, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return report(ctx, s.prometheus, cfg.Root, day)
}

// Again reports on what earlier runs recorded in these directories, one after the other, by what is expected today.
func Again(ctx context.Context, root string, dirs []string, patient bool) (*Report, error) {
	all := &Report{}
	for _, dir := range dirs {
		one, err := again(ctx, root, dir, patient)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if all.Text != "" {
			all.Text += "\n"
		}
		all.Text, all.Broken = all.Text+one.Text, append(all.Broken, one.Broken...)
	}
	return all, nil
}

func again(ctx context.Context, root, dir string, patient bool) (_ *Report, err error) {
	text, err := os.ReadFile(filepath.Join(dir, dayFile))
	if err != nil {
		return nil, err
	}
	var day Day
	if err := json.Unmarshal(text, &day); err != nil {
		return nil, err
	}
	if day.Hasten == 1 { // the smoke run's are its own
		for i := range day.Episodes {
			day.Episodes[i].Fault.expectAsToday(patient)
		}
	}
	program, err := observe.Program(root, "prometheus")
	if err != nil {
		return nil, err
	}
	server, err := observe.Start(ctx, observe.Config{Dir: filepath.Join(dir, "prometheus"), Program: program, Interval: day.Interval})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	return report(ctx, server, root, &day)
}

func (cfg *Config) say(format string, args ...any) {
	fmt.Fprintf(cfg.Log, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// play breaks one thing after another.
func (s *system) play(ctx context.Context) (*Day, error) {
	began := time.Now()
	if !lifecycle.Wait(ctx, s.cfg.Warm) {
		return nil, ctx.Err()
	}
	day := &Day{Described: machine.Describe(ctx, s.cfg.Root), Interval: s.cfg.Interval, Hasten: s.cfg.Hasten, Calm: s.cfg.Calm, Started: time.Now()}
	for _, f := range s.cfg.faults() {
		if len(s.cfg.Only) == 0 {
			if wait := time.Until(began.Add(f.up)); wait > 0 {
				s.cfg.say("%s: waiting %s, until there is history", f.Name, wait.Round(time.Second))
				if !lifecycle.Wait(ctx, wait) {
					return nil, ctx.Err()
				}
			}
		}
		episode, err := s.episode(ctx, f, day)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		day.Episodes = append(day.Episodes, episode)
	}
	s.endLoad()
	s.cfg.say("waiting for what was accepted")
	day.Accepted, day.Missing = settled(ctx, s.flows, s.cfg.Drain)
	day.Ended = time.Now()
	return day, ctx.Err()
}

func (s *system) episode(ctx context.Context, f fault, day *Day) (e Episode, err error) {
	e.Fault = f
	s.cfg.say("%s: calm before", f.Name)
	if !lifecycle.Wait(ctx, s.cfg.Calm) {
		return e, ctx.Err()
	}
	before, err := s.firing(ctx)
	if err != nil {
		return e, err
	}
	if len(before) > 0 {
		s.cfg.say("%s: still firing: %s", f.Name, strings.Join(before, ", "))
	}
	s.cfg.say("%s: %s", f.Name, f.What)
	e.Injected = time.Now()
	if err := f.inject(ctx, s); err != nil {
		return e, err
	}
	if err := s.await(ctx, f.atMost/time.Duration(day.Hasten), func(firing []string) bool {
		for _, alert := range f.Alerts {
			if !slices.Contains(firing, alert) {
				return false
			}
		}
		return time.Since(e.Injected) >= f.atLeast/time.Duration(day.Hasten)
	}); err != nil {
		return e, err
	}
	s.cfg.say("%s: healing", f.Name)
	if err := f.heal(context.WithoutCancel(ctx), s); err != nil {
		return e, err
	}
	e.Healed = time.Now()
	err = s.await(ctx, s.cfg.Settle, func(firing []string) bool {
		for _, alert := range firing {
			if !slices.Contains(f.Linger, alert) && !slices.Contains(before, alert) {
				return false
			}
		}
		return true
	})
	e.Ended = time.Now()
	return e, err
}

// await looks at what fires until it is as wanted, or for as long as it may take.
func (s *system) await(ctx context.Context, most time.Duration, wanted func(firing []string) bool) error {
	var told []string
	for deadline := time.Now().Add(most); time.Now().Before(deadline); {
		firing, err := s.firing(ctx)
		if err != nil {
			return err
		}
		if !slices.Equal(told, firing) {
			s.cfg.say("  firing: %s", strings.Join(firing, ", "))
			told = firing
		}
		if wanted(firing) {
			return nil
		}
		if !lifecycle.Wait(ctx, s.cfg.Interval/lookEach) {
			return ctx.Err()
		}
	}
	return nil
}

// firing are the names of the alerts that fire now.
func (s *system) firing(ctx context.Context) (names []string, err error) {
	list, err := s.prometheus.Query(ctx, `count by (alertname) (ALERTS{alertstate="firing"})`)
	for _, one := range list {
		names = append(names, one.Labels["alertname"])
	}
	slices.Sort(names)
	return names, err
}
