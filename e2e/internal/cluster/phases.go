package cluster

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// phase is one thing that happens to the cluster. When run returns, everything is whole again.
type phase struct {
	Name string
	What string // happens, for the reader of the table
	// Repeats says why endpoints may be asked again for what they took; "": they may not.
	Repeats string
	run     func(ctx context.Context, s *system) error
}

const (
	cutOff   = "what was being attempted when its process or its network went away is attempted again"
	longLame = 90 * time.Second // that a nats-server may take to end by itself
)

// phases are those of a run, in their order.
func (cfg *Config) phases() []phase {
	list := []phase{{Name: "calm", What: "nothing is broken", run: func(ctx context.Context, s *system) error { return s.wait(ctx) }}}
	if cfg.From == "" {
		list = append(list, phase{Name: "rolling restart", What: "all pods of ingest, delivery and monitor are replaced, the three Deployments at the same time", run: rollAll})
	} else {
		list = append(
			list,
			phase{Name: "upgrade", What: "the schema is migrated, then all pods are replaced by those of the new version", run: upgrade},
			phase{Name: "rollback", What: "all pods are replaced by those of the old version, on the new schema", run: func(ctx context.Context, s *system) error {
				s.stack.Use(s.cfg.older)
				return rollAll(ctx, s)
			}},
			phase{Name: "upgrade again", What: "all pods are replaced by those of the new version", run: upgrade},
		)
	}
	if cfg.Short {
		return append(list,
			phase{Name: "the host of the leader is cut off", What: "its network carries nothing: a nats-server, the leader, and the pods there", Repeats: cutOff, run: cutLeader},
			phase{Name: "processes are killed", What: "one pod each of ingest, delivery and monitor, by SIGKILL", Repeats: cutOff, run: crashEach})
	}
	return append(
		list,
		phase{Name: "NATS: rolling restart", What: "one server after the other goes into lame-duck mode, ends, and is started again, as the chart of NATS has it", run: rollBrokers},
		phase{Name: "NATS: a server is killed", What: "one that does not lead, by SIGKILL; it comes back", run: func(ctx context.Context, s *system) error { return killBrokers(ctx, s, s.followers, 1, false) }},
		phase{Name: "NATS: the leader is killed", What: "the server that leads the stream of deliveries, by SIGKILL; it comes back", run: func(ctx context.Context, s *system) error { return killBrokers(ctx, s, s.leaders, 1, false) }},
		phase{Name: "NATS: the leader loses its disk", What: "it is killed, its directory is removed, and it comes back empty", run: func(ctx context.Context, s *system) error { return killBrokers(ctx, s, s.leaders, 1, true) }},
		phase{Name: "NATS: two of three are killed", What: "no majority, so no stream; they come back", run: func(ctx context.Context, s *system) error { return killBrokers(ctx, s, s.leaders, 2, false) }},
		phase{Name: "NATS: all disks are lost", What: "all three are killed and come back empty", run: func(ctx context.Context, s *system) error { return killBrokers(ctx, s, s.leaders, 3, true) }},
		phase{Name: "a host is cut off", What: "its network carries nothing: a nats-server, which does not lead, and the pods there", Repeats: cutOff, run: func(ctx context.Context, s *system) error { return cut(ctx, s, s.followers) }},
		phase{Name: "the host of the leader is cut off", What: "the same of the leader", Repeats: cutOff, run: cutLeader},
		phase{Name: "processes are killed", What: "one pod each of ingest, delivery and monitor, by SIGKILL", Repeats: cutOff, run: crashEach},
	)
}

// wait is how long something stays broken.
func (s *system) wait(ctx context.Context) error {
	lifecycle.Wait(ctx, s.cfg.Broken)
	return ctx.Err()
}

func rollAll(ctx context.Context, s *system) error {
	return s.each(func(d *deployment) error { return d.roll(ctx) })
}

// each does something to all deployments at the same time.
func (s *system) each(do func(d *deployment) error) error {
	errs := make([]error, len(s.deployments()))
	var all sync.WaitGroup
	for n, d := range s.deployments() {
		all.Go(func() { errs[n] = do(d) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// upgrade is what `helm upgrade` does: the hook first, then the pods.
func upgrade(ctx context.Context, s *system) error {
	s.stack.Use(s.cfg.Binaries.Beaconpost)
	if err := s.stack.Migrate(ctx); err != nil {
		return err
	}
	return rollAll(ctx, s)
}

func crashEach(ctx context.Context, s *system) error {
	return s.each(func(d *deployment) error { return d.crash(ctx, d.all()[0]) })
}

// rollBrokers restarts the servers as a StatefulSet does: from the last to the first, each when the one before is ready.
func rollBrokers(ctx context.Context, s *system) error {
	for n := range slices.Backward(s.stack.Brokers) {
		old := s.stack.Brokers[n]
		old.Signal(syscall.SIGUSR2) // lame-duck mode
		select {
		case <-old.Done():
		case <-time.After(longLame):
			return errors.New("nats-server does not end by itself")
		}
		if err := s.stack.StartBroker(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// leaders gives the servers, the leader of the deliveries first.
func (s *system) leaders(ctx context.Context) ([]int, error) {
	first, err := s.leader(ctx)
	list := []int{first}
	for n := range s.stack.Brokers {
		if n != first {
			list = append(list, n)
		}
	}
	return list, err
}

// followers gives them with the leader last, and the last of the others first, which has pods of delivery and monitor beside it unless it leads.
func (s *system) followers(ctx context.Context) ([]int, error) {
	list, err := s.leaders(ctx)
	slices.Reverse(list)
	return list, err
}

// killBrokers kills so many servers, the first ones of an order, and starts them again.
func killBrokers(ctx context.Context, s *system, order func(context.Context) ([]int, error), count int, wiped bool) error {
	list, err := order(ctx)
	if err != nil {
		return err
	}
	for _, n := range list[:count] {
		s.stack.Brokers[n].Kill()
		if wiped {
			if err := os.RemoveAll(s.stack.BrokerDir(n)); err != nil {
				return err
			}
		}
	}
	if err := s.wait(ctx); err != nil {
		return err
	}
	errs := make([]error, count)
	var all sync.WaitGroup
	for i, n := range list[:count] {
		all.Go(func() { errs[i] = s.stack.StartBroker(ctx, n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func cutLeader(ctx context.Context, s *system) error { return cut(ctx, s, s.leaders) }

// cut separates the first host of an order from all others for a while.
func cut(ctx context.Context, s *system, order func(context.Context) ([]int, error)) error {
	list, err := order(ctx)
	if err != nil {
		return err
	}
	if err := s.lan.cut(ctx, list[0]); err != nil {
		return err
	}
	return errors.Join(s.wait(ctx), s.lan.join(context.WithoutCancel(ctx), list[0]))
}
