package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/machine"
)

// Scale says how far RunScale goes.
type Scale struct {
	Root        string
	Connections int
	Tenants     int
	Endpoints   int // of each tenant
	Events      int // past ones
	Days        int // that those lie in, each a partition
	During      time.Duration
	Replicas    []int // of delivery
}

// FullScale is what the issue asks for.
func FullScale(root string) Scale {
	return Scale{
		Root: root, Connections: 256, Tenants: 10_000, Endpoints: 10, Events: 10_000_000, Days: 30, During: 20 * time.Second, Replicas: []int{1, 2, 4},
	}
}

// scaling is one run.
type scaling struct {
	Scale
	*rig
	*Report
	base *pass // one tenant, empty tables, one replica
}

// RunScale measures the whole path at its maximum while one thing after the other grows.
func RunScale(ctx context.Context, cfg Scale, out, progress io.Writer) (err error) {
	r, err := startRig(ctx, rigConfig{root: cfg.Root, replicas: 1, large: true, log: progress})
	if err != nil {
		return err
	}
	s := &scaling{Scale: cfg, rig: r, Report: &Report{out: out}}
	defer func() { err = errors.Join(err, r.stop()) }()
	fmt.Fprintf(out, "%s\n\n%d keep-alive connections, closed loop, payloads of 1024 bytes, %s each.\n", machine.Describe(ctx, cfg.Root), cfg.Connections, cfg.During)
	s.heading("What grows, and what that costs")
	one := s.keys
	for _, step := range []struct {
		name string
		grow func() error
	}{
		{"one tenant, one endpoint, empty tables", func() error { return nil }},
		{fmt.Sprintf("%d tenants with %d endpoints each", cfg.Tenants, cfg.Endpoints), func() error { return s.populate(ctx, cfg.Tenants, cfg.Endpoints) }},
		{fmt.Sprintf("the same with %d events over %d partitions", cfg.Events, cfg.Days), func() error { return s.seed(ctx, cfg.Events, cfg.Days) }},
		{"one tenant among them", func() error { s.keys, s.types = one, []string{"order.paid"}; return nil }},
	} {
		if err := step.grow(); err != nil {
			return err
		}
		if err := s.step(ctx, step.name); err != nil {
			return err
		}
	}
	if err := s.replicas(ctx); err != nil {
		return err
	}
	lost, duplicates, unknown, err := s.audit(ctx)
	s.note("Events accepted %d, lost %d, duplicates %d, never accepted %d.", len(s.accepted), lost, duplicates, unknown)
	if lost+duplicates+unknown > 0 {
		s.broken("events were lost or came twice")
	}
	return errors.Join(err, s.failure())
}

func (s *scaling) load(during time.Duration) Load {
	return Load{PayloadSize: 1 << 10, Connections: s.Connections, Duration: during, SinkCount: s.sinkURL("/_/count"), Window: window}
}

// window keeps the producers within what is delivered, so that rates are sustained ones.
const window = 4000

func (s *scaling) step(ctx context.Context, name string) error {
	if _, err := s.measure(ctx, name+": warm up", s.load(2*s.During)); err != nil {
		return err
	}
	p, err := s.measure(ctx, name, s.load(s.During))
	if err != nil {
		return err
	}
	first := s.base == nil
	if first {
		s.base = p
	}
	s.refusals(p)
	rate, base := p.deliveredPerSecond(), s.base.deliveredPerSecond()
	f := figure{name: name + ": delivered", value: rate, unit: "/s", baseline: base, of: "one tenant, empty tables"}
	if !first {
		f.aim, f.met = "ratio ≥ 0.9", rate >= 0.9*base
	}
	s.add(f)
	for _, process := range []string{"ingest", "delivery", "postgres", "nats-server"} {
		s.add(figure{name: name + ": " + process + " CPU", value: perThousand(p.cpu[process], p.Accepted) / 1000, unit: unitCPU,
			baseline: perThousand(s.base.cpu[process], s.base.Accepted) / 1000, of: "one tenant, empty tables"})
	}
	for _, process := range []string{"ingest", "delivery"} {
		s.add(figure{name: name + ": " + process + " memory", value: mib(p.memory[process]), unit: "MiB", baseline: mib(s.base.memory[process]), of: "one tenant, empty tables"})
	}
	if endpoints := len(s.keys) * len(s.types); endpoints > 1000 {
		grown := p.memory["delivery"] + p.memory["ingest"] - s.base.memory["delivery"] - s.base.memory["ingest"]
		s.add(figure{name: name + ": memory per endpoint, ingest and delivery", value: float64(grown) / float64(endpoints), unit: "B"})
	}
	return nil
}

// replicas measures with more delivery processes. On a machine whose cores are all busy more processes cannot make more; what they show is
// whether the broker or the database costs more by them, or stands in the way.
func (s *scaling) replicas(ctx context.Context) error {
	s.heading("Replicas of delivery")
	var one *pass
	for _, n := range s.Replicas {
		for len(s.Deliveries) < n {
			if err := s.StartDelivery(ctx); err != nil {
				return err
			}
		}
		p, err := s.measure(ctx, fmt.Sprintf("%d replicas", n), s.load(s.During))
		if err != nil {
			return err
		}
		if one == nil {
			one = p
		}
		s.add(figure{name: fmt.Sprintf("%d replicas: delivered", n), value: p.deliveredPerSecond(), unit: "/s", baseline: one.deliveredPerSecond(), of: "one replica"})
		for _, process := range []string{"postgres", "nats-server", "ingest"} {
			s.add(figure{name: fmt.Sprintf("%d replicas: %s CPU", n, process), value: perThousand(p.cpu[process], p.Accepted) / 1000, unit: unitCPU,
				baseline: perThousand(one.cpu[process], one.Accepted) / 1000, of: "one replica"})
		}
		s.add(figure{name: fmt.Sprintf("%d replicas: cores busy (all processes)", n), value: p.cores("")})
		s.refusals(p)
	}
	return nil
}
