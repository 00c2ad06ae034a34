package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

const (
	followEvery  = 250 * time.Millisecond // what has changed takes effect within a second
	askEvery     = time.Second            // whether the stream is still the one that was compared
	compareEvery = time.Minute
	compareLimit = 50 * time.Second
	followLimit  = 10 * time.Second
	followMost   = 5000
	// overlap is how far a look reaches back behind the one before: a transaction may commit later than its updated_at says.
	overlap       = 15 * time.Second
	publishWindow = 1024
)

// Source is the truth about schedules.
type Source interface {
	// Changed gives monitors that changed at or after since, at most limit, with the time up to which they were looked at.
	Changed(ctx context.Context, since time.Time, limit int) (changes []Change, until time.Time, err error)
	// All gives every monitor that has to have a schedule.
	All(ctx context.Context, each func(Scheduled)) error
}

// Change is a monitor as it is since its last change.
type Change struct {
	Scheduled
	Version int64
	Gone    bool // it needs no schedule any more: deleted, paused, or a heartbeat
}

// Compared is what a comparison of the broker with the truth found.
type Compared struct {
	Want    int // schedules that there have to be
	Missing int // and were published
	Foreign int // removed
}

// Schedules keeps the broker's schedules as the source says. Any number of replicas may run it: what two of them publish is the same.
type Schedules struct {
	js       jetstream.JetStream
	topology *stream.Topology
	source   Source
	log      zerolog.Logger
	observe  func(Compared)
	trouble  func(doing string, err error)
	group    *lifecycle.Group
	nudge    chan struct{}
	confirms chan monitor.Due // that wait to be published

	// Used by one goroutine.
	since    time.Time           // changes before this were followed
	created  time.Time           // the stream that was compared
	followed map[uuid.UUID]int64 // versions: the same change is seen more than once
}

// NewSchedules starts to follow and compare. Stop it.
func NewSchedules(nc *nats.Conn, topology *stream.Topology, source Source, observe func(Compared), trouble func(string, error), log zerolog.Logger) (*Schedules, error) {
	js, err := stream.JetStream(nc, jetstream.WithPublishAsyncMaxPending(publishWindow), jetstream.WithPublishAsyncTimeout(followLimit))
	if err != nil {
		return nil, err
	}
	s := &Schedules{
		js: js, topology: topology, source: source, observe: observe, trouble: trouble, log: log,
		group: lifecycle.NewGroup(context.Background()), nudge: make(chan struct{}, 1), confirms: make(chan monitor.Due, confirmQueue), since: time.Now().Add(-overlap), followed: map[uuid.UUID]int64{},
	}
	s.group.Go(s.run)
	s.group.Go(s.confirm)
	return s, nil
}

// Nudge has changes followed now.
func (s *Schedules) Nudge() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// Stop ends it.
func (s *Schedules) Stop(ctx context.Context) error { return s.group.Stop(ctx) }

// run compares everything at first, when the broker has lost its stream, and once a minute; in between it follows what changes.
func (s *Schedules) run(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var compared, asked time.Time
	for {
		if time.Since(asked) >= askEvery && !compared.IsZero() {
			if asked = time.Now(); s.lost(ctx) {
				compared = time.Time{}
			}
		}
		if time.Since(compared) >= compareEvery {
			if err := s.compare(ctx); err == nil {
				compared = time.Now()
			} else if ctx.Err() == nil {
				s.trouble("compare schedules", err)
				lifecycle.Wait(ctx, retryPause)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.nudge:
		}
		if err := s.follow(ctx); err != nil && ctx.Err() == nil {
			compared = time.Time{} // what was not followed is found by comparing
			s.trouble("follow changes of monitors", err)
			lifecycle.Wait(ctx, retryPause)
		}
	}
}

// lost says whether the stream is gone, or another one: the broker was wiped. A broker that does not answer has lost nothing yet.
func (s *Schedules) lost(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	str, err := s.js.Stream(ctx, subject.StreamChecks)
	if err != nil {
		return errors.Is(err, jetstream.ErrStreamNotFound)
	}
	return !str.CachedInfo().Created.Equal(s.created)
}

// follow brings schedules of monitors that have changed up to date.
func (s *Schedules) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	changes, until, err := s.source.Changed(ctx, s.since, followMost)
	if err != nil {
		return err
	}
	changes = slices.DeleteFunc(changes, func(c Change) bool { return s.followed[c.ID] == c.Version })
	switch {
	case len(changes) == 0:
	case len(changes) > compareFrom:
		if err := s.compare(ctx); err != nil {
			return err
		}
	default:
		if err := s.change(ctx, changes); err != nil {
			return err
		}
	}
	for _, c := range changes {
		s.followed[c.ID] = c.Version
	}
	s.since = until.Add(-overlap)
	return nil
}

// compareFrom is how many changes it takes to make one look at everything cheaper than one at each.
const compareFrom = 300

func (s *Schedules) change(ctx context.Context, changes []Change) error {
	var publish []Scheduled
	for _, c := range changes {
		have, err := s.have(ctx, subject.Schedules(c.ID))
		if err != nil {
			return err
		}
		var wanted []string
		if !c.Gone {
			wanted = c.subjects()
		}
		for on := range have {
			if !slices.Contains(wanted, on) {
				if err := s.purge(ctx, on); err != nil {
					return err
				}
			}
		}
		if slices.ContainsFunc(wanted, func(on string) bool { return !have[on] }) {
			publish = append(publish, c.Scheduled)
		}
	}
	return s.publish(ctx, publish, nil)
}

// compare lists what the broker has and what it should have.
func (s *Schedules) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, compareLimit)
	defer cancel()
	if err := s.topology.Checks(ctx); err != nil {
		return err
	}
	began := time.Now()
	clear(s.followed)
	str, err := s.js.Stream(ctx, subject.StreamChecks)
	if err != nil {
		return fmt.Errorf("look up stream: %w", err)
	}
	s.created = str.CachedInfo().Created
	have, err := s.have(ctx, subject.ScheduleAll)
	if err != nil {
		return err
	}
	var missing []Scheduled
	found := Compared{}
	err = s.source.All(ctx, func(w Scheduled) {
		lacks := false
		for _, on := range w.subjects() {
			found.Want++
			if have[on] {
				delete(have, on)
			} else {
				lacks = true
				found.Missing++
			}
		}
		if lacks {
			missing = append(missing, w)
		}
	})
	if err != nil {
		return err
	}
	if err := s.publish(ctx, missing, have); err != nil {
		return err
	}
	for _, on := range slices.Sorted(maps.Keys(have)) {
		found.Foreign++
		if err := s.purge(ctx, on); err != nil {
			return err
		}
	}
	if found.Missing > 0 || found.Foreign > 0 {
		s.log.Info().Int("missing", found.Missing).Int("foreign", found.Foreign).Int("want", found.Want).Dur("took", time.Since(began)).Msg("schedules compared")
	}
	s.observe(found)
	return nil
}

func (s *Schedules) have(ctx context.Context, filter string) (map[string]bool, error) {
	str, err := s.js.Stream(ctx, subject.StreamChecks)
	if err != nil {
		return nil, fmt.Errorf("look up stream: %w", err)
	}
	info, err := str.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	have := make(map[string]bool, len(info.State.Subjects))
	for on := range info.State.Subjects {
		have[on] = true
	}
	return have, nil
}

func (s *Schedules) purge(ctx context.Context, filter string) error {
	str, err := s.js.Stream(ctx, subject.StreamChecks)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream: %w", err)
	}
	if err := str.Purge(ctx, jetstream.WithPurgeSubject(filter)); err != nil {
		return fmt.Errorf("remove schedule: %w", err)
	}
	return nil
}

// publish stores schedules, many at the same time, and waits for the broker's answers. Those that are there already are left alone.
func (s *Schedules) publish(ctx context.Context, want []Scheduled, have map[string]bool) error {
	var answers []jetstream.PubAckFuture
	for i := range want {
		for _, region := range want[i].Regions {
			msg, err := scheduleMsg(&want[i], region)
			if err != nil {
				return err
			}
			if have[msg.Subject] {
				continue
			}
			answer, err := s.js.PublishMsgAsync(msg)
			if err != nil {
				return fmt.Errorf("publish schedule: %w", err)
			}
			answers = append(answers, answer)
		}
	}
	for _, answer := range answers {
		select {
		case <-answer.Ok():
		case err := <-answer.Err():
			return fmt.Errorf("publish schedule: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Confirm implements monitor.Broker. It waits for nothing: what a slow broker leaves no room for is not asked.
func (s *Schedules) Confirm(d monitor.Due) {
	select {
	case s.confirms <- d:
	default:
	}
}

// confirmQueue is how many confirmations may wait for the broker.
const confirmQueue = 4096

func (s *Schedules) confirm(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-s.confirms:
			if err := s.publishConfirm(d); err != nil && ctx.Err() == nil {
				s.trouble("ask for a confirmation", err)
			}
		}
	}
}

func (s *Schedules) publishConfirm(d monitor.Due) error {
	msg, err := confirmMsg(d)
	if err != nil {
		return err
	}
	if d.At.Before(time.Now().Add(confirmSoon)) {
		msg = &nats.Msg{Subject: subject.CheckDue(d.Region), Data: msg.Data, Header: nats.Header{headerMessageTTL: msg.Header[headerTTL]}}
	}
	_, err = s.js.PublishMsgAsync(msg)
	return err
}

// confirmSoon is within which a schedule would not be worth it.
const confirmSoon = 250 * time.Millisecond

var _ monitor.Broker = (*Schedules)(nil)
