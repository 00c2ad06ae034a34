package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
)

// Plan says how long a suite's parts take. Its zero values leave parts out.
type Plan struct {
	Root        string // of the repository
	Connections int    // of the producer, and of the baselines' clients
	Fewer       int    // connections of one more maximum
	Payloads    []int  // bytes; the first is the one that all parts use
	Baseline    time.Duration
	AcceptOnly  time.Duration // without a delivery service; then the backlog is delivered
	WarmUp      time.Duration
	Steady      time.Duration
	OtherSizes  time.Duration // the maximum with each of the other payloads
	Open        time.Duration // each open loop
	Rates       []float64     // events/s of the open loops; half of the maximum is added
}

// Full is what `make bench` runs.
func Full(root string) Plan {
	return Plan{
		Root: root, Connections: 256, Fewer: 64, Payloads: []int{1 << 10, 256, 16 << 10}, Baseline: 5 * time.Second, AcceptOnly: 10 * time.Second,
		WarmUp: 5 * time.Second, Steady: 60 * time.Second, OtherSizes: 15 * time.Second, Open: 30 * time.Second, Rates: []float64{50, 200},
	}
}

// Smoke is what CI runs: every part, too short for its figures to mean much.
func Smoke(root string) Plan {
	return Plan{
		Root: root, Connections: 64, Fewer: 8, Payloads: []int{1 << 10, 256}, Baseline: 500 * time.Millisecond, AcceptOnly: time.Second,
		WarmUp: time.Second, Steady: 3 * time.Second, OtherSizes: time.Second, Open: 2 * time.Second, Rates: []float64{100},
	}
}

// suite is one run of a plan.
type suite struct {
	Plan
	*rig
	*Report
	base map[variant]*baselines
}

// variant is a kind of load that has baselines of its own.
type variant struct{ size, connections int }

// main is the variant that all parts use.
func (s *suite) main() *baselines { return s.base[variant{s.Payloads[0], s.Connections}] }

// Run measures and prints. The error says that it could not be measured, or that something broke.
func Run(ctx context.Context, plan Plan, out, progress io.Writer) (err error) {
	r, err := startRig(ctx, rigConfig{root: plan.Root, log: progress})
	if err != nil {
		return err
	}
	s := &suite{Plan: plan, rig: r, Report: &Report{out: out}, base: map[variant]*baselines{}}
	defer func() { err = errors.Join(err, r.stop()) }()
	fmt.Fprintf(out, "%s\n", machine.Describe(ctx, plan.Root))
	fmt.Fprintf(out, "\n%d keep-alive connections, one endpoint that answers 200 at once, payloads of %d bytes unless said; producer, sink, Postgres (fsync on) and nats-server on the same machine.\n", plan.Connections, plan.Payloads[0])
	for _, part := range []func(context.Context) error{s.measureBaselines, s.acceptOnly, s.steady, s.finish} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return s.failure()
}

func (s *suite) closed(size int, during time.Duration) Load {
	return Load{PayloadSize: size, Connections: s.Connections, Duration: during}
}

// acceptOnly measures ingest with no delivery service running, then how fast what has piled up is delivered.
func (s *suite) acceptOnly(ctx context.Context) error {
	size := s.Payloads[0]
	if _, err := s.measure(ctx, "warm up ingest", s.closed(size, s.WarmUp)); err != nil {
		return err
	}
	p, err := s.measure(ctx, "accept only: no delivery service", s.closed(size, s.AcceptOnly))
	if err != nil {
		return err
	}
	b := s.main()
	chi, err := s.again(ctx, s.chiAlone, func(b *baselines) float64 { return b.chi.perSecond() })
	if err != nil {
		return err
	}
	s.heading("Ingest alone (no delivery service runs; every event is committed with its delivery, and published)")
	s.add(figure{name: "accepted", value: p.perSecond(), unit: "/s", baseline: chi, of: "bare chi handler, mean of before and after", aim: "ratio ≥ 0.5", met: p.perSecond() >= 0.5*chi})
	s.add(figure{name: "accepted", value: p.perSecond(), unit: "/s", baseline: b.rows.rate, of: "Postgres alone, the same rows", aim: ""})
	s.add(figure{name: "accept p50", value: ms(p.Accept.P50), unit: "ms", baseline: ms(b.chi.Accept.P50), of: "bare chi handler"})
	s.add(figure{name: "accept p99", value: ms(p.Accept.P99), unit: "ms", baseline: ms(b.chi.Accept.P99), of: "bare chi handler"})
	s.refusals(p)

	s.say("deliver the backlog of %d events", len(s.accepted))
	start := time.Now()
	if err := s.StartDelivery(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx, int64(len(s.accepted))); err != nil {
		return err
	}
	rate := float64(len(s.accepted)) / time.Since(start).Seconds()
	s.add(figure{name: "backlog delivered, start of the service included", value: rate, unit: "/s", baseline: b.direct.perSecond(), of: "bare client to sink"})
	return nil
}

// steady measures the whole path: at its maximum, and at fixed rates.
func (s *suite) steady(ctx context.Context) error {
	size := s.Payloads[0]
	if _, err := s.measure(ctx, "warm up", s.closed(size, s.WarmUp)); err != nil {
		return err
	}
	top, err := s.measure(ctx, "maximum, end to end", s.closed(size, s.Steady))
	if err != nil {
		return err
	}
	direct, err := s.again(ctx, s.clientAlone, func(b *baselines) float64 { return b.direct.perSecond() })
	if err != nil {
		return err
	}
	s.reportMaximum(top, direct)
	s.reportCost(top)
	s.heading(fmt.Sprintf("Other payloads, %s each", s.OtherSizes))
	for _, other := range s.Payloads[1:] {
		p, err := s.measure(ctx, fmt.Sprintf("maximum with %d bytes", other), s.closed(other, s.OtherSizes))
		if err != nil {
			return err
		}
		b := s.base[variant{other, s.Connections}]
		s.add(figure{name: fmt.Sprintf("%d B: accepted", other), value: p.perSecond(), unit: "/s", baseline: b.chi.perSecond(), of: "bare chi handler"})
		s.add(figure{name: fmt.Sprintf("%d B: delivered", other), value: p.deliveredPerSecond(), unit: "/s", baseline: b.direct.perSecond(), of: "bare client to sink"})
		s.add(figure{name: fmt.Sprintf("%d B: our memory, peak", other), value: mib(p.ours), unit: "MiB"})
		s.refusals(p)
	}
	if err := s.fewer(ctx); err != nil {
		return err
	}
	s.heading(fmt.Sprintf("At fixed rates (open loop, latency from the moment an event was due), %s each", s.Open))
	for _, rate := range append(append([]float64{}, s.Rates...), top.deliveredPerSecond()/2) {
		if err := s.open(ctx, rate); err != nil {
			return err
		}
	}
	return nil
}

// again measures a baseline of the main variant once more, right after what is compared with it, and gives the mean of both: the machine is
// shared, and its speed drifts by a fifth within minutes.
func (s *suite) again(ctx context.Context, measure func(context.Context, variant, *baselines) error, rate func(*baselines) float64) (float64, error) {
	before, after := s.main(), &baselines{}
	if err := measure(ctx, variant{s.Payloads[0], s.Connections}, after); err != nil {
		return 0, fmt.Errorf("baseline once more: %w", err)
	}
	s.say("baseline again: %.0f/s, before %.0f/s", rate(after), rate(before))
	return (rate(before) + rate(after)) / 2, nil
}

// reportMaximum reports the rate of the whole path beside that of the bare client, direct.
func (s *suite) reportMaximum(p *pass, direct float64) {
	b := s.main()
	s.heading(fmt.Sprintf("Whole path at its maximum (closed loop), %s", s.Steady))
	s.add(figure{name: "accepted", value: p.perSecond(), unit: "/s", baseline: b.chi.perSecond(), of: "bare chi handler"})
	delivered := p.deliveredPerSecond()
	s.add(figure{name: "delivered", value: delivered, unit: "/s", baseline: direct, of: "bare client to sink, mean of before and after", aim: "ratio ≥ 0.3", met: delivered >= 0.3*direct})
	s.add(figure{name: "delivered", value: delivered, unit: "/s", baseline: 7500, of: "the issue's figure for that ratio", aim: "≥ 7,500/s", met: delivered >= 7500})
	s.add(figure{name: "delivered", value: delivered, unit: "/s", baseline: b.whole.rate, of: "Postgres alone, all rows of a delivery"})
	s.add(figure{name: "delivered", value: delivered, unit: "/s", baseline: b.jetstream.rate, of: "JetStream alone, a message per delivery"})
	s.add(figure{name: "accept p50", value: ms(p.Accept.P50), unit: "ms", baseline: ms(b.chi.Accept.P50), of: "bare chi handler"})
	s.add(figure{name: "accept p99", value: ms(p.Accept.P99), unit: "ms", baseline: ms(b.chi.Accept.P99), of: "bare chi handler"})
	s.add(figure{name: "end to end p50", value: ms(p.sink.EndToEnd.P50), unit: "ms", baseline: ms(b.directArrival.P50), of: "bare client to sink"})
	s.add(figure{name: "end to end p99", value: ms(p.sink.EndToEnd.P99), unit: "ms", baseline: ms(b.directArrival.P99), of: "bare client to sink"})
	first, last, most := p.backlogTrend()
	flat := last-first < 0.01*float64(p.Accepted)
	s.note("Backlog (accepted, not arrived; sampled each second): %.0f events on average in the first third, %.0f in the last, %d at most: %s.", first, last, most,
		map[bool]string{true: "flat", false: "**growing**"}[flat])
	s.refusals(p)
}

// backlogTrend gives the mean of the first and last third of the samples, and the largest.
func (p *pass) backlogTrend() (first, last float64, most int64) {
	third := max(len(p.backlogs)/3, 1)
	for i, n := range p.backlogs {
		most = max(most, n)
		if i < third {
			first += float64(n) / float64(third)
		}
		if i >= len(p.backlogs)-third {
			last += float64(n) / float64(third)
		}
	}
	return first, last, most
}

func (s *suite) reportCost(p *pass) {
	b := s.main()
	s.heading("What an event costs at the maximum: CPU seconds per 1,000 events (ms per event), peak resident memory")
	total := time.Duration(0)
	for _, c := range []struct {
		process  string
		baseline float64
		of       string
	}{
		{"producer", b.chiClientCPU, "producer of bare chi"},
		{"ingest", b.chiCPU, "bare chi handler"},
		{"postgres", b.whole.cpu, "Postgres alone"},
		{"nats-server", b.jetstream.cpu, "JetStream alone"},
		{"delivery", b.directCPU, "bare client"},
		{"sink", b.sinkCPU, "sink of the bare client"},
		{"monitor", 0, ""},
	} {
		total += p.cpu[c.process]
		s.add(figure{name: c.process + " CPU", value: perThousand(p.cpu[c.process], p.Accepted) / 1000, unit: unitCPU, baseline: c.baseline / 1000, of: c.of})
	}
	s.add(figure{name: "all CPU", value: perThousand(total, p.Accepted) / 1000, unit: unitCPU})
	s.add(figure{name: "ingest memory", value: mib(p.memory["ingest"]), unit: "MiB", baseline: mib(b.chiMemory), of: "bare chi handler"})
	s.add(figure{name: "delivery memory", value: mib(p.memory["delivery"]), unit: "MiB", baseline: mib(b.directMemory), of: "bare client"})
	s.add(figure{name: "monitor memory", value: mib(p.memory["monitor"]), unit: "MiB"})
	s.add(figure{name: "nats-server memory", value: mib(p.memory["nats-server"]), unit: "MiB"})
	s.add(figure{name: "postgres memory (proportional share)", value: mib(p.postgresMemory), unit: "MiB"})
	s.add(figure{name: "our processes together, at the same moment", value: mib(p.ours), unit: "MiB", baseline: mib(b.chiMemory + b.directMemory), of: "bare chi and bare client", aim: "≤ 300 MiB", met: mib(p.ours) <= 300})
	s.add(figure{name: "WAL per event", value: float64(p.wal) / float64(p.Accepted), unit: "B", baseline: b.whole.bytes, of: "Postgres alone"})
	s.add(figure{name: "JetStream bytes written per event", value: float64(p.nats) / float64(p.Accepted), unit: "B", baseline: b.jetstream.bytes, of: "JetStream alone"})
}

// fewer measures the maximum with fewer connections: group commit lives on requests that come at the same time.
func (s *suite) fewer(ctx context.Context) error {
	load := s.closed(s.Payloads[0], s.OtherSizes)
	load.Connections = s.Fewer
	p, err := s.measure(ctx, fmt.Sprintf("maximum with %d connections", s.Fewer), load)
	if err != nil {
		return err
	}
	b := s.base[variant{s.Payloads[0], s.Fewer}]
	s.heading(fmt.Sprintf("%d connections instead of %d, %s", s.Fewer, s.Connections, s.OtherSizes))
	s.add(figure{name: "delivered", value: p.deliveredPerSecond(), unit: "/s", baseline: b.direct.perSecond(), of: "bare client to sink"})
	s.add(figure{name: "accepted", value: p.perSecond(), unit: "/s", baseline: b.chi.perSecond(), of: "bare chi handler"})
	s.add(figure{name: "accept p50", value: ms(p.Accept.P50), unit: "ms", baseline: ms(b.chi.Accept.P50), of: "bare chi handler"})
	s.add(figure{name: "accept p99", value: ms(p.Accept.P99), unit: "ms", baseline: ms(b.chi.Accept.P99), of: "bare chi handler"})
	s.add(figure{name: "end to end p50", value: ms(p.sink.EndToEnd.P50), unit: "ms", baseline: ms(b.directArrival.P50), of: "bare client to sink"})
	s.add(figure{name: "end to end p99", value: ms(p.sink.EndToEnd.P99), unit: "ms", baseline: ms(b.directArrival.P99), of: "bare client to sink"})
	s.refusals(p)
	return nil
}

// open measures one fixed rate.
func (s *suite) open(ctx context.Context, rate float64) error {
	size := s.Payloads[0]
	load := s.closed(size, s.Open)
	load.Rate = rate
	p, err := s.measure(ctx, fmt.Sprintf("%.0f/s", rate), load)
	if err != nil {
		return err
	}
	chi, direct, err := s.baselinesAt(ctx, load)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%.0f/s: ", rate)
	aim := func(text string, met bool) figure {
		if rate != 200 {
			return figure{}
		}
		return figure{aim: text, met: met}
	}
	for _, row := range []struct {
		name        string
		value, base time.Duration
		of          string
		aim         figure
	}{
		{"accept p50", p.Accept.P50, chi.Accept.P50, "bare chi handler", aim("≤ 2.5 ms", ms(p.Accept.P50) <= 2.5)},
		{"accept p99", p.Accept.P99, chi.Accept.P99, "bare chi handler", figure{}},
		{"end to end p50", p.sink.EndToEnd.P50, direct.P50, "bare client to sink", aim("≤ 6 ms", ms(p.sink.EndToEnd.P50) <= 6)},
		{"end to end p99", p.sink.EndToEnd.P99, direct.P99, "bare client to sink", aim("≤ 20 ms", ms(p.sink.EndToEnd.P99) <= 20)},
	} {
		s.add(figure{name: name + row.name, value: ms(row.value), unit: "ms", baseline: ms(row.base), of: row.of, aim: row.aim.aim, met: row.aim.met})
	}
	s.refusals(p)
	return nil
}

// finish compares what was accepted with what arrived.
func (s *suite) finish(ctx context.Context) error {
	lost, duplicates, unknown, err := s.audit(ctx)
	if err != nil {
		return err
	}
	s.heading("Nothing lost, nothing twice")
	s.add(figure{name: "events accepted in this run", value: float64(len(s.accepted))})
	for _, c := range []struct {
		name string
		n    int64
	}{{"lost", lost}, {"duplicates", duplicates}, {"never accepted", unknown}} {
		s.add(figure{name: c.name, value: float64(c.n), aim: "0", met: c.n == 0})
		if c.n != 0 {
			s.broken("%d events %s", c.n, c.name)
		}
	}
	return nil
}
