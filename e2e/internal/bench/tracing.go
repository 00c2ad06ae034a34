package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// Tracing says how RunTracing compares.
type Tracing struct {
	Root        string
	Connections int
	Rounds      int
	During      time.Duration // of each load
	Rate        float64       // events/s; 0: as many as there can be
}

// TracingOf reads flags.
func TracingOf(root string, args []string) (Tracing, error) {
	cfg := Tracing{Root: root}
	flags := flag.NewFlagSet("tracing", flag.ContinueOnError)
	flags.IntVar(&cfg.Rounds, "rounds", 5, "how often each of the ways is measured, one after another")
	flags.IntVar(&cfg.Connections, "connections", 256, "producer's connections")
	flags.DurationVar(&cfg.During, "for", 15*time.Second, "length of each load")
	flags.Float64Var(&cfg.Rate, "rate", 3000, "events per second, with which what an event costs can be compared; 0: as many as there can be, which is noisy")
	return cfg, flags.Parse(args)
}

// tracingWay is a way to trace.
type tracingWay struct {
	name    string
	environ func(collector string) []string
	aim     string
	most    float64 // what CPU per event may be of that without; 0: no aim
}

func traceRatio(ratio string) func(string) []string {
	return func(collector string) []string {
		return []string{"BEACONPOST_OTLP_ENDPOINT=" + collector, "BEACONPOST_TRACE_SAMPLE_RATIO=" + ratio}
	}
}

// tracingWays begins with the baseline, twice: it is what both have together, and what they differ by is noise.
func tracingWays() []tracingWay {
	off := func(string) []string { return nil }
	return []tracingWay{
		{name: "off", environ: off},
		{name: "off, once more", environ: off},
		{name: "1 % of traces", environ: traceRatio("0.01"), aim: "ratio ≤ 1.03", most: 1.03},
		{name: "all traces", environ: traceRatio("1")},
	}
}

// traced is what a load cost.
type traced struct{ perSecond, perEvent float64 }

// RunTracing measures what tracing costs: the same load again and again, with services that were started with other settings, and a collector that throws away
// what it gets. What decides is the CPU that ingest and delivery take per event: the rate is that of the whole machine, other things that run on it included.
func RunTracing(ctx context.Context, cfg Tracing, out, progress io.Writer) (err error) {
	r, err := startRig(ctx, rigConfig{root: cfg.Root, replicas: 1, log: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	collector, err := startHelper(roleCollector)
	if err != nil {
		return err
	}
	defer collector.stop()
	report := &Report{out: out}
	fmt.Fprintf(out, "%s\n", machine.Describe(ctx, cfg.Root))
	ways := tracingWays()
	results := make([][]traced, len(ways))
	load := Load{PayloadSize: 1 << 10, Connections: cfg.Connections, Duration: cfg.During, Rate: cfg.Rate, SinkCount: r.sinkURL("/_/count"), Window: 20000}
	if _, err := r.measure(ctx, "warming up", load); err != nil {
		return err
	}
	for round := range cfg.Rounds {
		for _, i := range rand.Perm(len(ways)) { // none always follows the same
			if err := r.restartWith(ctx, ways[i].environ("http://"+collector.addr)); err != nil {
				return err
			}
			p, err := r.measure(ctx, fmt.Sprintf("round %d of %d: %s", round+1, cfg.Rounds, ways[i].name), load)
			if err != nil {
				return err
			}
			results[i] = append(results[i], traced{p.perSecond(), perThousand(p.cpu["ingest"]+p.cpu["delivery"], p.Accepted)})
		}
	}
	loop := "closed loop"
	if cfg.Rate > 0 {
		loop = fmt.Sprintf("%.0f/s", cfg.Rate)
	}
	report.heading(fmt.Sprintf("Tracing: %d rounds of %s, %s, %d connections; medians", cfg.Rounds, cfg.During, loop, cfg.Connections))
	rate, cost := func(t traced) float64 { return t.perSecond }, func(t traced) float64 { return t.perEvent }
	off := slices.Concat(results[0], results[1])
	for i, way := range ways {
		ratio := median(results[i], cost) / median(off, cost)
		report.add(figure{name: way.name + ": CPU of ingest and delivery per 1,000 events", value: median(results[i], cost), unit: "ms", baseline: median(off, cost), of: "off, both", aim: way.aim, met: ratio <= way.most})
		report.add(figure{name: way.name + ": accepted and delivered", value: median(results[i], rate), unit: "/s", baseline: median(off, rate), of: "off, both"})
	}
	exported, err := stack.Get(ctx, "http://"+collector.addr+"/_/bytes")
	if err != nil {
		return err
	}
	report.note("The collector got %s bytes of spans.", exported)
	if string(exported) == "0" {
		report.broken("nothing was traced")
	}
	lost, duplicates, unknown, err := r.audit(ctx)
	report.note("Events accepted %d, lost %d, duplicates %d, never accepted %d.", len(r.accepted), lost, duplicates, unknown)
	if lost+duplicates+unknown > 0 {
		report.broken("events were lost or came twice")
	}
	return errors.Join(err, report.failure())
}

func median(list []traced, of func(traced) float64) float64 {
	values := make([]float64, len(list))
	for i, t := range list {
		values[i] = of(t)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// restartWith starts ingest and delivery anew with other variables.
func (r *rig) restartWith(ctx context.Context, environ []string) error {
	if err := errors.Join(r.stopDelivery(), r.Ingest.Terminate()); err != nil {
		return err
	}
	r.Vary(environ)
	if err := r.StartIngest(ctx); err != nil {
		return err
	}
	return r.StartDelivery(ctx)
}

// RunCollector serves what takes traces and throws them away, until ctx ends. It says how many bytes of them there were.
func RunCollector(ctx context.Context, listen string, ready func(addr string)) error {
	var bytes atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body) // the exporter's loss
		bytes.Add(n)
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	mux.HandleFunc("GET /_/bytes", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, bytes.Load()) })
	return serve(ctx, listen, mux, ready)
}
