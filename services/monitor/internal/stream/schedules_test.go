package stream

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// truth is what the database would say.
type truth struct {
	mu  sync.Mutex
	all map[uuid.UUID]Change
}

func (s *truth) Changed(_ context.Context, _ time.Time, _ int) (changes []Change, until time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.all)), time.Now(), nil
}

func (s *truth) All(_ context.Context, each func(Scheduled)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		if !c.Gone {
			each(c.Scheduled)
		}
	}
	return nil
}

func (s *truth) set(c Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Version = s.all[c.ID].Version + 1
	s.all[c.ID] = c
}

type bench struct {
	t     *testing.T
	nc    *nats.Conn
	js    jetstream.JetStream
	kept  *stream.Topology
	truth *truth
	due   chan monitor.Due
	*Schedules
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, nc: streamtest.Connect(t, streamtest.New(t)), truth: &truth{all: map[uuid.UUID]Change{}}, due: make(chan monitor.Due, 100)}
	var err error
	b.js, err = stream.JetStream(b.nc)
	require.NoError(t, err)
	b.kept, err = stream.NewTopology(b.nc, 1, telemetry.Silent(prometheus.NewRegistry()))
	require.NoError(t, err)
	b.start()
	consumer := NewConsumer(b.nc, "default", b.kept, func(d monitor.Due) { b.due <- d }, zerolog.New(t.Output()))
	t.Cleanup(func() { require.NoError(t, consumer.Stop(context.Background())) })
	require.Eventually(t, consumer.Live, 10*time.Second, 10*time.Millisecond)
	return b
}

func (b *bench) start() {
	b.t.Helper()
	s, err := NewSchedules(b.nc, b.kept, b.truth, func(Compared) {}, func(doing string, err error) { b.t.Log(doing, err) }, zerolog.New(b.t.Output()))
	require.NoError(b.t, err)
	b.Schedules = s
	b.t.Cleanup(func() { require.NoError(b.t, s.Stop(context.Background())) })
}

func (b *bench) scheduled() []string {
	have, err := b.have(context.Background(), subject.ScheduleAll)
	if err != nil {
		return []string{err.Error()}
	}
	return slices.Sorted(maps.Keys(have))
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	slices.Sort(want)
	require.Eventually(b.t, func() bool { return slices.Equal(want, b.scheduled()) }, 5*time.Second, 10*time.Millisecond, "%v", want)
}

func every(interval time.Duration, regions ...string) Change {
	return Change{Scheduled: Scheduled{Key: monitor.Key{Tenant: tenant.ID(uuid.New()), ID: uuid.Must(uuid.NewV7())}, Interval: interval, Regions: regions}}
}

func TestSchedulesFollowTheTruth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := every(30*time.Second, "default"), every(time.Hour, "default", "eu-west")
	b.truth.set(one)
	b.truth.set(two)
	b.Nudge()
	id := one.ID.String()
	hourly := []string{"checks.schedule." + two.ID.String() + ".default.3600", "checks.schedule." + two.ID.String() + ".eu-west.3600"}
	b.expect(append(hourly, "checks.schedule."+id+".default.30")...)

	one.Interval, one.Regions = 10*time.Second, []string{"default", "us"}
	b.truth.set(one)
	b.expect(append(hourly, "checks.schedule."+id+".default.10", "checks.schedule."+id+".us.10")...)

	one.Gone = true
	b.truth.set(one)
	b.expect(hourly...)
}

// Whatever the broker lost or should not have is found by comparing.
func TestAWipedBrokerHeals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := every(time.Minute, "default")
	b.truth.set(one)
	want := "checks.schedule." + one.ID.String() + ".default.60"
	b.expect(want)
	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamChecks))
	b.expect(want) // at once, while it runs
	require.NoError(t, b.Stop(t.Context()))

	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamChecks))
	require.NoError(t, b.kept.Checks(t.Context()))
	foreign := every(time.Minute, "default")
	msg, err := scheduleMsg(&foreign.Scheduled, "default")
	require.NoError(t, err)
	_, err = b.js.PublishMsg(t.Context(), msg)
	require.NoError(t, err)
	b.start()
	b.expect(want)
}

// A check comes in the second in which its slot's moment is, and confirmations when they are asked for.
func TestChecksComeDue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := every(10*time.Second, "default")
	b.truth.set(one)
	b.Nudge()
	schedule := calendar.ScheduleOf(one.ID, one.Interval)
	got := b.next()
	require.Equal(t, one.Key, got.Key)
	require.Zero(t, got.Confirmation)
	slot := schedule.Slot(got.FiredAt.Truncate(time.Second).Add(time.Second - time.Millisecond))
	require.WithinDuration(t, schedule.At(slot), got.FiredAt, 1500*time.Millisecond)

	later := monitor.Due{Key: one.Key, Region: "default", Slot: slot, Confirmation: 2, At: time.Now().Add(time.Second)}
	b.Confirm(later)
	b.Confirm(monitor.Due{Key: one.Key, Region: "default", Slot: slot, Confirmation: 1})
	first, second := b.next(), b.next()
	require.Equal(t, 1, first.Confirmation)
	require.Equal(t, 2, second.Confirmation)
	require.Equal(t, slot, second.Slot)
	require.False(t, second.FiredAt.Before(later.At.Add(-10*time.Millisecond)))
}

func (b *bench) next() monitor.Due {
	b.t.Helper()
	select {
	case d := <-b.due:
		return d
	case <-time.After(15 * time.Second):
		require.Fail(b.t, "no check came due")
		return monitor.Due{}
	}
}

func TestBytesThatAreNoCheck(t *testing.T) {
	t.Parallel()
	good, err := encode(monitor.Due{Key: every(time.Minute).Key, Confirmation: 1, Slot: -1})
	require.NoError(t, err)
	d, err := decode(good)
	require.NoError(t, err)
	require.EqualValues(t, -1, d.Slot)
	many, err := encode(monitor.Due{Key: every(time.Minute).Key, Confirmation: 1000})
	require.NoError(t, err)
	for name, body := range map[string][]byte{"nothing": nil, "text": []byte("garbage"), "cut": good[:20], "absurd": many} {
		_, err := decode(body)
		require.ErrorContains(t, err, "decode check", name)
	}
}

func FuzzDecode(f *testing.F) {
	good, _ := encode(monitor.Due{Key: monitor.Key{ID: uuid.Nil}, Confirmation: 1, Slot: 7})
	f.Add(good)
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := decode(body)
		if err != nil {
			return
		}
		again, err := encode(d)
		require.NoError(t, err)
		same, err := decode(again)
		require.NoError(t, err)
		require.Equal(t, d, same)
	})
}
