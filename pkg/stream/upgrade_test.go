package stream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// process is one of some version, with what it logged and counted.
type process struct {
	*stream.Topology
	t     *testing.T
	build stream.Build
	log   bytes.Buffer
	reg   *prometheus.Registry
}

// newProcess makes one that declares what change makes of today's declaration, of a version that is so much newer.
func newProcess(t *testing.T, nc *nats.Conn, newer int, change func(*stream.Build)) *process {
	t.Helper()
	p := &process{t: t, build: stream.ThisBuild(1), reg: prometheus.NewRegistry()}
	p.build.Version += newer
	if change != nil {
		change(&p.build)
	}
	tel := telemetry.Silent(p.reg)
	tel.Log = zerolog.New(&p.log)
	var err error
	p.Topology, err = stream.NewTopology(nc, 1, tel)
	require.NoError(t, err)
	return p
}

func (p *process) keep() {
	p.t.Helper()
	require.NoError(p.t, p.Keep(p.t.Context(), p.build))
}

// changes gives what was done since the last call, by the log's line.
func (p *process) changes() (lines []map[string]any) {
	p.t.Helper()
	for line := range bytes.Lines(p.log.Bytes()) {
		fields := map[string]any{}
		require.NoError(p.t, json.Unmarshal(line, &fields))
		lines = append(lines, fields)
	}
	p.log.Reset()
	return lines
}

func (p *process) counted(change string) int {
	p.t.Helper()
	families, err := p.reg.Gather()
	require.NoError(p.t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "beaconpost_topology_changes_total" && m.GetLabel()[0].GetValue() == change {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	require.Fail(p.t, "no metric of "+change)
	return 0
}

func (b *bench) stream() jetstream.StreamConfig {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), subject.StreamDeliveries)
	require.NoError(b.t, err)
	return s.CachedInfo().Config
}

func (b *bench) created() time.Time {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), subject.StreamDeliveries)
	require.NoError(b.t, err)
	return s.CachedInfo().Created
}

func (b *bench) consumer(shard int) *jetstream.ConsumerInfo {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), subject.StreamDeliveries, subject.Durable(shard))
	require.NoError(b.t, err)
	return c.CachedInfo()
}

// slower is a change that JetStream makes in what exists.
func slower(b *stream.Build) {
	b.Stream.Duplicates = time.Minute
	for i := range b.Consumers {
		b.Consumers[i].AckWait = 2 * stream.AckWait
	}
}

func inMemory(b *stream.Build) { b.Stream.Storage = jetstream.MemoryStorage }

func TestANewerVersionChangesWhatThereIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	since := b.created()
	waiting := message(time.Now())
	b.pub.Ready(waiting)
	b.pub.settled(1)

	p := newProcess(t, b.nc, 1, slower)
	p.keep()
	require.Equal(t, time.Minute, b.stream().Duplicates)
	require.Equal(t, 2*stream.AckWait, b.consumer(7).Config.AckWait)
	require.Equal(t, since, b.created(), "it is the same stream")
	require.Equal(t, waiting.DeliveryID, b.next(waiting.Tenant).message.DeliveryID)

	lines := p.changes()
	require.Len(t, lines, 1, "one line for all of it")
	require.Equal(t, "DELIVERIES", lines[0]["stream"])
	require.Equal(t, []any{"ack_wait", "duplicate_window"}, lines[0]["fields"])
	require.Len(t, lines[0]["changed"], 1+subject.Shards)
	require.Equal(t, 1+subject.Shards, p.counted("changed"))

	p.keep()
	require.Empty(t, p.changes(), "nothing is left to change")
}

// What was there before declarations had versions is older than any.
func TestWhatHasNoVersionIsOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	unversioned := b.stream()
	unversioned.Metadata, unversioned.Duplicates = nil, time.Minute
	_, err := b.js.UpdateStream(t.Context(), unversioned)
	require.NoError(t, err)
	require.Zero(t, stream.VersionOf(b.stream().Metadata))
	newProcess(t, b.nc, 0, nil).keep()
	require.Equal(t, 2*time.Minute, b.stream().Duplicates)
}

// An old process that is started again in the middle of an upgrade, or all of them after a rollback.
func TestAnOlderVersionChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	older, newer := newProcess(t, b.nc, 0, nil), newProcess(t, b.nc, 1, slower)
	for range 3 {
		newer.keep()
		older.keep()
		require.Equal(t, time.Minute, b.stream().Duplicates)
		require.Equal(t, 2*stream.AckWait, b.consumer(7).Config.AckWait)
	}
	require.Len(t, newer.changes(), 1, "its own change, once")
	lines := older.changes()
	require.Len(t, lines, 1, "said once")
	require.Contains(t, lines[0]["message"], "newer version")

	// A rollback has nobody else who would make what is missing.
	require.NoError(t, b.js.DeleteConsumer(t.Context(), subject.StreamDeliveries, subject.Durable(7)))
	older.keep()
	require.Equal(t, stream.AckWait, b.consumer(7).Config.AckWait)
	require.Equal(t, []any{"delivery-7"}, older.changes()[0]["created"])
	newer.keep()
	require.Equal(t, 2*stream.AckWait, b.consumer(7).Config.AckWait, "until a newer one comes again")

	// The same with all of it: whoever has deleted the stream has said that the old one is wanted.
	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamDeliveries))
	older.keep()
	require.Equal(t, 2*time.Minute, b.stream().Duplicates)
}

func TestWhatCannotBeChangedIsReplaced(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*stream.Build)
		field  string
	}{
		"storage":   {inMemory, "storage"},
		"retention": {func(b *stream.Build) { b.Stream.Retention = jetstream.InterestPolicy }, "retention"},
		"schedules": {func(b *stream.Build) { b.Stream.AllowMsgSchedules = false }, "allow_msg_schedules"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			waiting := message(time.Now())
			b.pub.Ready(waiting)
			b.pub.settled(1)
			older, newer := newProcess(t, b.nc, 0, nil), newProcess(t, b.nc, 1, tt.change)
			newer.keep()
			lines := newer.changes()
			require.Len(t, lines, 1)
			require.Equal(t, []any{"DELIVERIES"}, lines[0]["replaced"])
			require.Contains(t, lines[0]["fields"], tt.field)
			require.Len(t, b.consumers(), subject.Shards)
			require.Zero(t, b.stored(">"), "what it held comes again from Postgres")

			since := b.created()
			for range 3 {
				older.keep()
				newer.keep()
			}
			require.Equal(t, since, b.created(), "and nobody replaces it again")
			require.Empty(t, newer.changes())
			again := message(time.Now())
			b.pub.Ready(again)
			require.Equal(t, again.DeliveryID, b.next(again.Tenant).message.DeliveryID)
		})
	}
}

// Two builds that call different declarations the same version are a mistake, which must not cost what is stored.
func TestTheSameVersionReplacesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	since := b.created()
	p := newProcess(t, b.nc, 0, func(b *stream.Build) { inMemory(b); b.Stream.Replicas = 3 })
	p.keep()
	require.Equal(t, since, b.created())
	require.Equal(t, 1, p.counted("failed"))
}

func TestAConsumerThatCannotBeChangedIsReplaced(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*jetstream.ConsumerConfig){
		"waiting": func(c *jetstream.ConsumerConfig) { c.MaxWaiting = 100 },
		"replay":  func(c *jetstream.ConsumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy },
		"memory":  func(c *jetstream.ConsumerConfig) { c.MemoryStorage = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			held, later := message(time.Now()), message(time.Now().Add(time.Hour))
			b.pub.Ready(held)
			b.pub.Retry(later)
			b.pub.settled(2)
			shard := subject.Shard(held.Tenant.UUID())
			consumer, err := b.js.Consumer(t.Context(), subject.StreamDeliveries, subject.Durable(shard))
			require.NoError(t, err)
			_, err = consumer.Next(jetstream.FetchMaxWait(patience))
			require.NoError(t, err, "an attempt is being made")
			since := b.created()

			p := newProcess(t, b.nc, 1, func(b *stream.Build) { change(&b.Consumers[shard]) })
			p.keep()
			require.Equal(t, []any{subject.Durable(shard)}, p.changes()[0]["replaced"])
			require.Equal(t, since, b.created(), "the stream stays")
			require.Equal(t, 1, b.stored(">"), "the retry that is planned stays too; what is being worked on is not given out as if it were new")
			require.Zero(t, b.consumer(shard).NumPending)
			next := message(time.Now())
			next.Tenant = held.Tenant
			b.pub.Ready(next)
			require.Equal(t, next.DeliveryID, b.next(next.Tenant).message.DeliveryID)
		})
	}
}

// More or fewer consumers. In a work queue no two may take the same messages, so what is not declared any more goes first.
func TestConsumersComeAndGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fewer := newProcess(t, b.nc, 1, func(b *stream.Build) { b.Consumers = b.Consumers[:4] })
	_, err := b.js.CreateConsumer(t.Context(), subject.StreamDeliveries, jetstream.ConsumerConfig{
		Durable: "an-operators", FilterSubject: subject.Retry(message(time.Now()).DeliveryID), AckPolicy: jetstream.AckExplicitPolicy,
	})
	require.NoError(t, err)
	fewer.keep()
	require.Equal(t, []string{"an-operators", "delivery-0", "delivery-1", "delivery-2", "delivery-3"}, b.consumers())
	require.Equal(t, subject.Shards-4, fewer.counted("removed"))

	one := newProcess(t, b.nc, 2, func(b *stream.Build) {
		b.Consumers = b.Consumers[:1]
		b.Consumers[0].Durable, b.Consumers[0].FilterSubject = "delivery-all", subject.ReadyAll
	})
	one.keep()
	require.Equal(t, []string{"an-operators", "delivery-all"}, b.consumers())
	more := newProcess(t, b.nc, 3, nil)
	more.keep()
	require.Len(t, b.consumers(), subject.Shards+1)
}

// Many processes of two versions at the same time, on a broker that is empty, old, or has something that cannot be changed.
func TestAllAtTheSameTime(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(b *bench){
		"nothing": func(b *bench) { require.NoError(b.t, b.js.DeleteStream(b.t.Context(), subject.StreamDeliveries)) },
		"old":     func(*bench) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			before(b)
			var all sync.WaitGroup
			errs := make([]error, 12)
			for i := range errs {
				p := newProcess(t, b.nc, i%2, nil)
				if i%2 == 1 {
					p = newProcess(t, b.nc, 1, func(b *stream.Build) { inMemory(b); slower(b); b.Consumers[3].MaxWaiting = 7 })
				}
				all.Go(func() { errs[i] = p.Keep(t.Context(), p.build) })
			}
			all.Wait()
			// Whoever was in somebody's way comes again half a second later.
			last := newProcess(t, b.nc, 1, func(b *stream.Build) { inMemory(b); slower(b); b.Consumers[3].MaxWaiting = 7 })
			last.keep()
			t.Log(errors.Join(errs...))
			require.Equal(t, jetstream.MemoryStorage, b.stream().Storage)
			require.Len(t, b.consumers(), subject.Shards)
			require.Equal(t, 7, b.consumer(3).Config.MaxWaiting)
			require.Equal(t, 2*stream.AckWait, b.consumer(9).Config.AckWait)
		})
	}
}

// Where nothing has to be replaced nobody fails, whoever is first.
func TestTwoVersionsMakeTheSameStream(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamDeliveries))
		var all sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			p := newProcess(t, b.nc, 0, nil)
			if i%2 == 1 {
				p = newProcess(t, b.nc, 1, slower)
			}
			all.Go(func() { errs[i] = p.Keep(t.Context(), p.build) })
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		require.Equal(t, time.Minute, b.stream().Duplicates)
		for shard := range subject.Shards {
			require.Equal(t, 2*stream.AckWait, b.consumer(shard).Config.AckWait)
		}
	}
}

// A change that the broker refuses leaves things as they are, and does not keep anybody from working.
func TestWhatTheBrokerRefusesStaysAsItIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := newProcess(t, b.nc, 1, func(b *stream.Build) { b.Stream.Replicas = 3; b.Stream.Duplicates = time.Minute })
	p.keep()
	p.keep()
	require.Equal(t, 1, p.counted("failed"), "it is tried again after a minute")
	require.Equal(t, 1, b.stream().Replicas)
	require.Equal(t, 2*time.Minute, b.stream().Duplicates)
	lines := p.changes()
	require.Equal(t, "warn", lines[0]["level"])
	require.Equal(t, "DELIVERIES", lines[0]["name"])
}

func TestReplicasFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t, 3)
	nc, err := nats.Connect(cluster.URL(0))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	b := &bench{broker: &broker{t: t}, nc: nc, js: jetStream(t, nc), pub: newPublisher(t, nc)}
	made, found := topology(t, nc, 1), topology(t, nc, 1)
	require.NoError(t, made.Deliveries(t.Context()))
	require.NoError(t, found.Deliveries(t.Context()))
	waiting, planned := message(time.Now()), message(time.Now().Add(time.Hour))
	b.pub.Ready(waiting)
	b.pub.Retry(planned)
	b.pub.settled(2)
	since := b.created()
	copies := func(want int) {
		t.Helper()
		require.Eventually(t, func() bool {
			s, err := b.js.Stream(t.Context(), subject.StreamDeliveries)
			if err != nil || s.CachedInfo().Config.Replicas != want || s.CachedInfo().Cluster == nil || len(s.CachedInfo().Cluster.Replicas) != want-1 {
				return false
			}
			c, err := b.js.Consumer(t.Context(), subject.StreamDeliveries, subject.Durable(5))
			return err == nil && c.CachedInfo().Cluster != nil && len(c.CachedInfo().Cluster.Replicas) == want-1 &&
				!slices.ContainsFunc(s.CachedInfo().Cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current })
		}, 3*patience, 50*time.Millisecond, "stream and consumers have %d copies", want)
	}
	copies(1)

	// Three processes of the new configuration start at the same time. One of the old that is started again beside them does not put the number back and forth.
	three := []*stream.Topology{topology(t, nc, 3), topology(t, nc, 3), topology(t, nc, 3)}
	var all sync.WaitGroup
	for _, p := range three {
		all.Go(func() { require.NoError(t, p.Deliveries(t.Context())) })
	}
	all.Wait()
	copies(3)
	for _, old := range []*stream.Topology{made, found} {
		require.NoError(t, old.Deliveries(t.Context()))
		require.Equal(t, 3, b.stream().Replicas, "those of before that run on leave it alone")
	}
	require.NoError(t, topology(t, nc, 1).Deliveries(t.Context()))
	copies(1)
	for _, p := range three {
		require.NoError(t, p.Deliveries(t.Context()))
	}
	require.Equal(t, 1, b.stream().Replicas, "who has changed it lets ten minutes pass")
	require.NoError(t, topology(t, nc, 3).Deliveries(t.Context()))
	copies(3)

	require.Equal(t, since, b.created(), "it is the same stream all the time")
	require.Equal(t, 2, b.stored(">"))
	cluster.Stop(2)
	require.Eventually(t, func() bool { // somebody else may have to lead first
		c, err := b.js.Consumer(t.Context(), subject.StreamDeliveries, subject.Durable(subject.Shard(waiting.Tenant.UUID())))
		if err != nil {
			return false
		}
		msg, err := c.Next(jetstream.FetchMaxWait(patience))
		return err == nil && msg.DoubleAck(t.Context()) == nil
	}, 6*patience, 50*time.Millisecond, "any of three servers may be missing")
	cluster.Start(2)
	copies(3)
}

const history = "testdata/topology"

// What is declared changes together with its version. The files are what each version declared, and are never changed: the one of a new version is written
// by this test, which then fails once.
func TestEveryDeclarationHasItsVersion(t *testing.T) {
	t.Parallel()
	for name, declared := range stream.AllDeclared() {
		path := filepath.Join(history, name+".json")
		have, err := json.MarshalIndent(declared, "", "  ")
		require.NoError(t, err)
		have = append(have, '\n')
		want, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, os.WriteFile(path, have, 0o600))
			require.Fail(t, path+" was written: commit it")
		}
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "another declaration is another version: %s", path)
	}
}

// retired is what a version may lack although the version before it declares it: nobody has used it since then. That is a matter of releases (the one before
// this must not use it either), so it is said here, by name: "DELIVERIES.3": {"delivery-16"}.
var retired = map[string][]string{}

// missed lists what processes that declare old would miss at a broker that has what new declares.
func missed(old, have stream.Declared, retired ...string) (list []string) {
	for _, s := range old.Stream.Subjects {
		if !slices.Contains(have.Stream.Subjects, s) {
			list = append(list, s)
		}
	}
	if old.Stream.AllowMsgSchedules && !have.Stream.AllowMsgSchedules {
		list = append(list, "schedules")
	}
	if old.Stream.AllowMsgTTL && !have.Stream.AllowMsgTTL {
		list = append(list, "times to live")
	}
	if old.Stream.AllowDirect && !have.Stream.AllowDirect {
		list = append(list, "direct gets")
	}
	for _, c := range old.Consumers {
		there := slices.ContainsFunc(have.Consumers, func(h jetstream.ConsumerConfig) bool {
			return h.Durable == c.Durable && h.FilterSubject == c.FilterSubject && h.AckPolicy == c.AckPolicy
		})
		if !there {
			list = append(list, c.Durable)
		}
	}
	return slices.DeleteFunc(list, func(what string) bool { return slices.Contains(retired, what) })
}

// During an upgrade, and after a rollback, a version's processes work on what the next version declares.
func TestTheVersionBeforeWorksOnEachDeclaration(t *testing.T) {
	t.Parallel()
	read := func(name string, version int) (d stream.Declared, ok bool) {
		text, err := os.ReadFile(filepath.Join(history, fmt.Sprintf("%s.%d.json", name, version)))
		if errors.Is(err, fs.ErrNotExist) {
			return d, false
		}
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &d))
		return d, true
	}
	for _, name := range []string{subject.StreamDeliveries, subject.StreamChecks} {
		old, ok := read(name, 1)
		require.True(t, ok)
		for version := 2; ; version++ {
			have, ok := read(name, version)
			if !ok {
				break
			}
			require.Empty(t, missed(old, have, retired[fmt.Sprintf("%s.%d", name, version)]...), "%s.%d", name, version)
			old = have
		}
	}
}

func TestMissed(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*stream.Declared){
		"":                   func(d *stream.Declared) { d.Stream.Storage, d.Consumers[0].MaxWaiting = jetstream.MemoryStorage, 7 },
		"deliveries.retry.*": func(d *stream.Declared) { d.Stream.Subjects = []string{"deliveries.ready.*", "deliveries.other.*"} },
		"schedules":          func(d *stream.Declared) { d.Stream.AllowMsgSchedules = false },
		"direct gets":        func(d *stream.Declared) { d.Stream.AllowDirect = false },
		"delivery-15":        func(d *stream.Declared) { d.Consumers = d.Consumers[:15] },
		"delivery-3":         func(d *stream.Declared) { d.Consumers[3].FilterSubject = "deliveries.ready.33" },
		"delivery-4":         func(d *stream.Declared) { d.Consumers[4].AckPolicy = jetstream.AckNonePolicy },
	} {
		have := stream.AllDeclared()["DELIVERIES.1"]
		change(&have)
		got := missed(stream.AllDeclared()["DELIVERIES.1"], have)
		require.Equal(t, want, strings.Join(got, " "))
		require.Empty(t, missed(stream.AllDeclared()["DELIVERIES.1"], have, got...))
	}
	old := stream.AllDeclared()["CHECKS.1"]
	have := old
	have.Stream.AllowMsgTTL = false
	require.Equal(t, []string{"times to live"}, missed(old, have))
}
