package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// Soak says how long RunSoak takes.
type Soak struct {
	Root        string
	Connections int
	Probe       time.Duration // to find the maximum
	During      time.Duration
	Share       float64 // of the maximum
}

// FullSoak is five minutes at 80 % of the maximum.
func FullSoak(root string) Soak {
	return Soak{Root: root, Connections: 256, Probe: 15 * time.Second, During: 5 * time.Minute, Share: 0.8}
}

// level is what is sampled of a process.
type level struct{ resident, heap, goroutines float64 }

// RunSoak loads the system steadily and prints what its processes hold, minute by minute.
func RunSoak(ctx context.Context, cfg Soak, out, progress io.Writer) (err error) {
	r, err := startRig(ctx, rigConfig{root: cfg.Root, replicas: 1, log: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	report := &Report{out: out}
	fmt.Fprintf(out, "%s\n", machine.Describe(ctx, cfg.Root))
	load := Load{PayloadSize: 1 << 10, Connections: cfg.Connections, Duration: cfg.Probe}
	top, err := r.measure(ctx, "find the maximum", load)
	if err != nil {
		return err
	}
	load.Duration, load.Rate = cfg.During, cfg.Share*top.deliveredPerSecond()
	sampling, stop := context.WithCancel(ctx)
	samples := make(chan map[string][]level)
	go func() { samples <- r.sampleLevels(sampling) }()
	p, err := r.measure(ctx, fmt.Sprintf("%s at %.0f/s", cfg.During, load.Rate), load)
	stop()
	levels := <-samples
	if err != nil {
		return err
	}
	report.heading(fmt.Sprintf("%s at %.0f/s, %.0f %% of the maximum (open loop)", cfg.During, load.Rate, 100*cfg.Share))
	report.add(figure{name: "accepted", value: p.perSecond(), unit: "/s", baseline: load.Rate, of: "the rate asked for"})
	report.add(figure{name: "end to end p50", value: ms(p.sink.EndToEnd.P50), unit: "ms"})
	report.add(figure{name: "end to end p99", value: ms(p.sink.EndToEnd.P99), unit: "ms"})
	report.refusals(p)
	for _, name := range []string{"ingest", "delivery"} {
		first, last := ends(levels[name])
		if first.resident == 0 || first.heap == 0 || first.goroutines == 0 || last.goroutines == 0 {
			report.broken("%s: its memory and goroutines were not sampled", name)
		}
		report.add(figure{name: name + ": resident memory, last minute", value: last.resident, unit: "MiB", baseline: first.resident, of: "second minute", aim: "ratio ≤ 1.1", met: last.resident <= 1.1*first.resident})
		report.add(figure{name: name + ": heap in use, last minute", value: last.heap, unit: "MiB", baseline: first.heap, of: "second minute"})
		report.add(figure{name: name + ": goroutines, last minute", value: last.goroutines, baseline: first.goroutines, of: "second minute", aim: "ratio ≤ 1.1", met: last.goroutines <= 1.1*first.goroutines})
	}
	lost, duplicates, unknown, err := r.audit(ctx)
	report.note("Events accepted %d, refused %v, lost %d, duplicates %d, never accepted %d; backlog at most %d.", len(r.accepted), p.Refused, lost, duplicates, unknown, most(p.backlogs))
	if lost+duplicates+unknown > 0 {
		report.broken("events were lost or came twice")
	}
	return errors.Join(err, report.failure())
}

func most(list []int64) (n int64) {
	for _, v := range list {
		n = max(n, v)
	}
	return n
}

// sampleLevels asks the services each second until ctx ends.
func (r *rig) sampleLevels(ctx context.Context) map[string][]level {
	levels := map[string][]level{}
	services := map[string]*stack.Process{"ingest": r.Ingest, "delivery": r.Deliveries[0]}
	for sleep(ctx, time.Second) {
		for name, p := range services {
			metrics, err := stack.Get(ctx, "http://"+p.Admin+"/metrics")
			if err != nil {
				continue // the next second has a sample again
			}
			text := string(metrics)
			levels[name] = append(levels[name], level{
				resident: mib(residentOf(p.PID())), heap: gaugeOf(text, "go_memstats_heap_inuse_bytes") / (1 << 20), goroutines: gaugeOf(text, "go_goroutines"),
			})
		}
	}
	return levels
}

// gaugeOf reads a metric without labels; 0 if it is not there.
func gaugeOf(metrics, name string) float64 {
	for line := range strings.Lines(metrics) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0
			}
			return v
		}
	}
	return 0
}

// ends gives the means of the second and of the last minute.
func ends(levels []level) (first, last level) {
	const minute = 60
	from := min(minute, len(levels)/2)
	return mean(levels[from:min(from+minute, len(levels))]), mean(levels[max(len(levels)-minute, 0):])
}

func mean(levels []level) (m level) {
	for _, l := range levels {
		n := float64(len(levels))
		m.resident, m.heap, m.goroutines = m.resident+l.resident/n, m.heap+l.heap/n, m.goroutines+l.goroutines/n
	}
	return m
}
