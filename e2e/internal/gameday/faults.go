package gameday

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"
)

// fault is what is broken, and what should be seen of it.
type fault struct {
	Name string
	What string // is done
	// Alerts have to fire. None: nothing may.
	Alerts []string
	// Waits have to become pending; they fire only after longer than the fault lasts.
	Waits []string
	// May fire too: consequences, not mistakes.
	May []string
	// Shows names panels that have to show it, whether an alert does or not.
	Shows []string
	// Linger are alerts that look back for so long that nobody waits until they end.
	Linger []string
	// Note is for the reader of the table.
	Note string

	atLeast, atMost time.Duration // that it lasts
	up              time.Duration // that the system has to have run before
	inject, heal    func(ctx context.Context, s *system) error
}

// consequences of an outage are true and look back for longer than anybody waits here: what had to wait was late, what was due meanwhile was missed, and
// what failed has failed.
func consequences() []string {
	return []string{"BeaconpostFirstAttemptsLate", "BeaconpostSlotsMissed", "BeaconpostChecksLate", "BeaconpostMonitorTrouble"}
}

// faults are those of a full game day, in their order: what needs history comes late.
func faults(patient bool) []fault {
	flooding := fault{
		Name: "one tenant floods", What: "one tenant posts as fast as it can to an endpoint with a rate limit of 20/s",
		Waits: []string{"BeaconpostDeliveriesOverflowing"}, Linger: []string{"BeaconpostDeliveriesOverflowing"}, atLeast: 3 * time.Minute, atMost: 4 * time.Minute,
		Note:   "The alert fires when it has gone on for half an hour; it is not waited for.",
		inject: injectFlood, heal: healFlood,
	}
	if patient {
		flooding.Alerts, flooding.Waits, flooding.Note, flooding.atMost = flooding.Waits, nil, "", 40*time.Minute
	}
	return []fault{
		{
			Name: "one endpoint down", What: "one endpoint refuses connections", Shows: []string{"delivery: Endpoints in trouble"}, atLeast: 3 * time.Minute, atMost: 3 * time.Minute,
			Note:   "Nobody is to be woken: it is the tenant's affair, whom `endpoint.failing` tells.",
			inject: func(_ context.Context, s *system) error { return s.lone.Down() }, heal: func(ctx context.Context, s *system) error { return s.lone.Up(ctx) },
		},
		{
			Name: "60 endpoints down", What: "60 endpoints of 3 tenants refuse connections at the same time", Alerts: []string{"BeaconpostBreakersOpening"}, Linger: []string{"BeaconpostBreakersOpening"}, atMost: 8 * time.Minute,
			inject: func(_ context.Context, s *system) error { return s.many.Down() }, heal: func(ctx context.Context, s *system) error { return s.many.Up(ctx) },
		},
		flooding,
		postgresSlow("Postgres slow", 300*time.Millisecond, ""),
		postgresSlow("Postgres very slow", 500*time.Millisecond, "The limits that services set themselves are near: two seconds for a sign of life, three for an API key or a monitor's settings, five for an event.",
			"BeaconpostPostgresUnreachable", "BeaconpostResultsWaiting", "BeaconpostIngestErrorBudgetBurn", "BeaconpostPoolExhausted"),
		{
			Name: "prober region lost", What: "the only prober of a region is killed", Alerts: []string{"BeaconpostRegionSilent"}, May: consequences()[1:], Linger: consequences()[1:], up: 31 * time.Minute, atMost: 8 * time.Minute,
			Note: "The alert compares with half an hour ago, so the region was up for longer before.",
			inject: func(_ context.Context, s *system) error {
				s.stack.Probers[regionLost].Kill()
				return nil
			},
			heal: func(ctx context.Context, s *system) error { return s.stack.StartProber(ctx, regionLost) },
		},
		natsDown(false), natsDown(true),
	}
}

// postgresSlow is that it answers, after the time for a packet there and for one back.
func postgresSlow(name string, by time.Duration, note string, may ...string) fault {
	return fault{
		Name: name, What: fmt.Sprintf("each packet from and to Postgres takes %s longer", by), Alerts: []string{"BeaconpostPostgresSlow"}, May: append(may, consequences()...), Note: note,
		Linger: append(consequences(), "BeaconpostIngestErrorBudgetBurn"), atMost: 8 * time.Minute,
		inject: func(_ context.Context, s *system) error { s.postgres.Set(by); return nil }, heal: func(_ context.Context, s *system) error { s.postgres.Set(0); return nil },
	}
}

// expectAsToday takes what is expected from the code instead of from a record.
func (f *fault) expectAsToday(patient bool) {
	for _, today := range faults(patient) {
		if today.Name == f.Name {
			what := f.What // was done
			*f = today
			f.What = what
		}
	}
}

// natsDown is that the broker is away, and, if so, that what it had is gone when it comes back.
func natsDown(wiped bool) fault {
	f := fault{
		Name: "NATS down", What: "nats-server is stopped, and started again", Alerts: []string{"BeaconpostBrokerDisconnected"}, Shows: []string{"overview: Consuming"},
		May: consequences(), Linger: consequences(), atMost: 5 * time.Minute,
		inject: func(_ context.Context, s *system) error { return s.stack.NATS.Terminate() },
		heal:   func(ctx context.Context, s *system) error { return s.stack.StartNATS(ctx) },
	}
	if wiped {
		f.Name, f.What = "NATS down, its data lost", "as before, and its directory is removed meanwhile"
		f.heal = func(ctx context.Context, s *system) error {
			if err := os.RemoveAll(s.stack.NATSDir()); err != nil {
				return err
			}
			return s.stack.StartNATS(ctx)
		}
	}
	return f
}

func injectFlood(ctx context.Context, s *system) error {
	s.flood = startFlood(context.WithoutCancel(ctx), &flow{stack: s.stack, key: s.floodKey, sink: s.flooded, posted: s.posted}, floodSenders)
	return nil
}

// healFlood ends it, and has the pile cancelled, as the tenant would.
func healFlood(ctx context.Context, s *system) error {
	s.flood.end()
	s.flood = nil
	return s.stack.Call(ctx, s.floodKey, http.MethodDelete, "/v1/endpoints/"+s.floodEndpoint, nil, &struct{}{})
}
