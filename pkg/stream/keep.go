package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/proto/subject"
)

const (
	// versionKey is where streams and consumers have the version of their declaration, in their metadata.
	versionKey = "beaconpost.topology"
	// rescaleAfter is for how long a process that has set its number of replicas, or found it, leaves another one alone: during a roll that changes it, old and new
	// processes want different ones, and a stream is not to be copied back and forth.
	rescaleAfter = 10 * time.Minute
	// failedAfter is how long after a failed change it is tried again.
	failedAfter = time.Minute
	// lookTries bounds how often one call looks again because another process was faster.
	lookTries = 4
)

// Topology keeps streams and consumers as this build declares them. Any process may, at any time, at the same time as others and beside ones of other
// versions; nothing is asked of the broker to change when nothing has. What exists and is of a newer version is left alone; what exists and cannot be
// changed is used as it is, which is logged, counted and tried again after a minute. An error means that something is not there. It is safe for concurrent use.
type Topology struct {
	js       jetstream.JetStream
	replicas int
	log      zerolog.Logger
	changes  *prometheus.CounterVec

	mu      sync.Mutex
	regions []string // whose probers were asked for; guarded by mu

	turn chan struct{} // has room for one, who uses what is below

	rest    map[string]time.Time // what is not tried again before, by name
	settled map[string]time.Time // when a stream was last seen with as many copies as are wanted, by name
	told    map[string]int       // the newer version that was logged, by stream
}

// NewTopology makes one for streams of that many copies (1, 3 or 5).
func NewTopology(nc *nats.Conn, replicas int, tel *telemetry.Telemetry) (*Topology, error) {
	js, err := JetStream(nc)
	return &Topology{
		js: js, replicas: replicas, log: tel.Log, changes: topologyMetrics(tel.Metrics),
		turn: make(chan struct{}, 1), rest: map[string]time.Time{}, settled: map[string]time.Time{}, told: map[string]int{},
	}, err
}

// DescribeTopology makes the metrics of a Topology.
func DescribeTopology(m *telemetry.Metrics) { topologyMetrics(m) }

func topologyMetrics(m *telemetry.Metrics) *prometheus.CounterVec {
	changes := m.Counters(telemetry.Metric{
		Name: "beaconpost_topology_changes_total", Labels: []string{"change"},
		Help:  "Streams and consumers that this process created, changed, replaced (deleted, to be created again: their messages come from Postgres), removed, or failed to change.",
		Worry: "Failed grows: streams are not as this version declares them; the log says why. Replaced grows without an upgrade.",
	})
	for _, change := range []string{created, changed, replaced, removed, failed} {
		changes.WithLabelValues(change)
	}
	return changes
}

// errContended is when others were faster each time: processes of an older version made it again when this one had deleted it.
var errContended = errors.New("processes of another version make it at the same time")

// What may be done to a stream or a consumer.
const (
	created  = "created"
	changed  = "changed"
	replaced = "replaced"
	removed  = "removed"
	failed   = "failed"
)

// Deliveries has the stream of deliveries and its consumers there.
func (t *Topology) Deliveries(ctx context.Context) error { return t.keep(ctx, deliveries(t.replicas)) }

// Checks has the stream of monitors' checks there, and the consumers that Prober was asked for.
func (t *Topology) Checks(ctx context.Context) error {
	t.mu.Lock()
	d := checks(t.replicas, t.regions...)
	t.mu.Unlock()
	return t.keep(ctx, d)
}

// Prober gives the consumer that the probers of a region share, after having made it if it was not there. A check is handed out once.
func (t *Topology) Prober(ctx context.Context, region string) (jetstream.Consumer, error) {
	t.mu.Lock()
	if !slices.Contains(t.regions, region) {
		t.regions = append(t.regions, region)
	}
	t.mu.Unlock()
	if err := t.Checks(ctx); err != nil {
		return nil, err
	}
	c, err := t.js.Consumer(ctx, subject.StreamChecks, subject.Prober(region))
	if err != nil {
		return nil, fmt.Errorf("look up consumer %s: %w", subject.Prober(region), err)
	}
	return c, nil
}

func (t *Topology) keep(ctx context.Context, d declaration) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for another look at stream %s: %w", d.stream.Name, ctx.Err())
	}
	did := &deeds{stream: d.stream.Name, names: map[string][]string{}, before: map[string]any{}, fields: map[string]bool{}}
	defer t.report(did, d.version)
	s, err := t.keepStream(ctx, &d, did)
	if err != nil {
		return fmt.Errorf("ensure stream %s: %w", d.stream.Name, err)
	}
	return t.keepConsumers(ctx, s, &d, did)
}

// keepStream creates the stream, changes it, replaces it, or leaves it alone.
func (t *Topology) keepStream(ctx context.Context, d *declaration, did *deeds) (s jetstream.Stream, err error) {
	want := d.stream
	want.Metadata = stamp(d.version)
	for range lookTries {
		s, err = t.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if s, err = t.js.CreateStream(ctx, want); err == nil {
				did.created(want.Name, s.CachedInfo().Config)
				t.settled[want.Name] = time.Now()
				return s, nil
			}
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // another process was faster, and had another idea of it
			}
		}
		if err != nil {
			return nil, err
		}
		have := s.CachedInfo().Config
		switch by := versionOf(have.Metadata); {
		case by > d.version:
			t.tellNewer(want.Name, by, d.version)
			return s, nil
		case by == d.version && have.Replicas == want.Replicas:
			t.settled[want.Name] = time.Now()
			return s, nil
		case by == d.version && time.Since(t.settled[want.Name]) < rescaleAfter, time.Now().Before(t.rest[want.Name]):
			return s, nil
		case by == d.version: // what an operator has changed by hand stays
			want = have
			want.Replicas = d.stream.Replicas
		case by < d.version && streamIsFixed(&have, &want):
			if err := t.js.DeleteStream(ctx, want.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.failed(want.Name, err)
				return s, nil
			}
			did.replaced(want.Name, have)
			continue // to create it, or to find that another process has
		}
		after, err := t.js.UpdateStream(ctx, want)
		if err != nil {
			t.failed(want.Name, err)
			return s, nil
		}
		t.settled[want.Name] = time.Now()
		did.changed(want.Name, have, after.CachedInfo().Config)
		return after, nil
	}
	return nil, errContended
}

// keepConsumers does the same for the consumers of a stream. Those that older versions declared and this one does not go first: in a work queue
// no two may take the same messages.
func (t *Topology) keepConsumers(ctx context.Context, s jetstream.Stream, d *declaration, did *deeds) error {
	if len(d.consumers) == 0 {
		return nil
	}
	have := map[string]*jetstream.ConsumerInfo{}
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		have[info.Name] = info
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("list consumers of %s: %w", d.stream.Name, err)
	}
	for name, info := range have {
		declared := slices.ContainsFunc(d.consumers, func(c jetstream.ConsumerConfig) bool { return c.Durable == name })
		if d.owned == "" || declared || !strings.HasPrefix(name, d.owned) || versionOf(info.Config.Metadata) >= d.version || time.Now().Before(t.rest[name]) {
			continue
		}
		if err := remove(ctx, s, &info.Config); err != nil {
			t.failed(name, err)
			continue
		}
		did.add(removed, name)
	}
	for _, want := range d.consumers {
		want.Metadata = stamp(d.version)
		if err := t.keepConsumer(ctx, s, d.version, have[want.Durable], want, did); err != nil {
			return fmt.Errorf("ensure consumer %s: %w", want.Durable, err)
		}
	}
	return nil
}

func (t *Topology) keepConsumer(ctx context.Context, s jetstream.Stream, version int, have *jetstream.ConsumerInfo, want jetstream.ConsumerConfig, did *deeds) error {
	for range lookTries {
		if have == nil {
			c, err := s.CreateConsumer(ctx, want)
			if err == nil {
				did.created(want.Durable, c.CachedInfo().Config)
				return nil
			}
			if !errors.Is(err, jetstream.ErrConsumerExists) {
				return err
			}
			if c, err = s.Consumer(ctx, want.Durable); err != nil { // another process was faster
				return err
			}
			have = c.CachedInfo()
		}
		if versionOf(have.Config.Metadata) >= version || time.Now().Before(t.rest[want.Durable]) {
			return nil
		}
		if consumerIsFixed(&have.Config, &want) {
			if err := remove(ctx, s, &have.Config); err != nil {
				t.failed(want.Durable, err)
				return nil
			}
			did.replaced(want.Durable, have.Config)
			have = nil
			continue
		}
		after, err := s.UpdateConsumer(ctx, want)
		if err != nil {
			t.failed(want.Durable, err)
			return nil
		}
		did.changed(want.Durable, have.Config, after.CachedInfo().Config)
		return nil
	}
	return errContended
}

// remove deletes a consumer, and then what it was to give out: a consumer that comes after it would not know what is being worked on, and give it out a
// second time as if it were the first. Messages that are purged come again from Postgres, as ones that might have a twin.
func remove(ctx context.Context, s jetstream.Stream, c *jetstream.ConsumerConfig) error {
	if err := s.DeleteConsumer(ctx, c.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete consumer: %w", err)
	}
	if c.FilterSubject == "" {
		return nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(c.FilterSubject)); err != nil {
		return fmt.Errorf("purge %s: %w", c.FilterSubject, err)
	}
	return nil
}

// failed tells that something stays as it is, for a minute at least.
func (t *Topology) failed(name string, err error) {
	t.rest[name] = time.Now().Add(failedAfter)
	t.changes.WithLabelValues(failed).Inc()
	t.log.Warn().Err(err).Str("name", name).Msg("stream or consumer cannot be changed; it is used as it is")
}

func (t *Topology) tellNewer(stream string, by, version int) {
	if t.told[stream] != by {
		t.told[stream] = by
		t.log.Info().Str("stream", stream).Int("declared_by", by).Int("version", version).Msg("stream was declared by a newer version; it is used as it is")
	}
}

func (t *Topology) report(did *deeds, version int) {
	if len(did.names) == 0 {
		return
	}
	event := t.log.Info().Str("stream", did.stream).Int("version", version)
	for change, names := range did.names {
		t.changes.WithLabelValues(change).Add(float64(len(names)))
		event = event.Strs(change, names)
	}
	event.Strs("fields", slices.Sorted(maps.Keys(did.fields))).Msg("stream and consumers are in place")
}

// deeds is what one call did.
type deeds struct {
	stream string
	names  map[string][]string // by what was done
	before map[string]any      // configurations of what was replaced, by name
	fields map[string]bool     // that were changed
}

func (d *deeds) add(what, name string) { d.names[what] = append(d.names[what], name) }

func (d *deeds) created(name string, config any) {
	d.add(created, name)
	if before, ok := d.before[name]; ok {
		d.differ(before, config)
	}
}

func (d *deeds) changed(name string, before, after any) {
	d.add(changed, name)
	d.differ(before, after)
}

func (d *deeds) replaced(name string, before any) {
	d.add(replaced, name)
	d.before[name] = before
}

// differ notes in which fields, by their names at the broker, two configurations that came from there differ.
func (d *deeds) differ(before, after any) {
	a, b := asFields(before), asFields(after)
	for _, name := range slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b))) {
		if name != "metadata" && !reflect.DeepEqual(a[name], b[name]) {
			d.fields[name] = true
		}
	}
}

func asFields(config any) (fields map[string]any) {
	text, err := json.Marshal(config)
	if err == nil {
		err = json.Unmarshal(text, &fields)
	}
	if err != nil {
		panic(err) // structs of the library, made for this
	}
	return fields
}

// streamIsFixed says whether a stream differs in what JetStream changes in none that exists.
func streamIsFixed(have, want *jetstream.StreamConfig) bool {
	return have.Retention != want.Retention && (have.Retention == jetstream.WorkQueuePolicy || want.Retention == jetstream.WorkQueuePolicy) ||
		have.Storage != want.Storage || have.PersistMode != want.PersistMode || have.AllowMsgCounter != want.AllowMsgCounter ||
		have.AllowMsgTTL && !want.AllowMsgTTL || have.AllowMsgSchedules && !want.AllowMsgSchedules ||
		have.Sealed && !want.Sealed || have.DenyDelete && !want.DenyDelete || have.DenyPurge && !want.DenyPurge ||
		want.Mirror != nil && !reflect.DeepEqual(have.Mirror, want.Mirror)
}

// consumerIsFixed says the same of a pull consumer.
func consumerIsFixed(have, want *jetstream.ConsumerConfig) bool {
	return have.AckPolicy != want.AckPolicy || have.DeliverPolicy != want.DeliverPolicy || have.ReplayPolicy != want.ReplayPolicy ||
		have.MaxWaiting != want.MaxWaiting || have.MemoryStorage != want.MemoryStorage || have.OptStartSeq != want.OptStartSeq ||
		have.DeliverSubject != want.DeliverSubject
}

func stamp(version int) map[string]string {
	return map[string]string{versionKey: strconv.Itoa(version)}
}

// versionOf gives 0 for what has no version: it was declared before there were any, or by hand.
func versionOf(metadata map[string]string) int {
	version, err := strconv.Atoi(metadata[versionKey])
	if err != nil {
		return 0
	}
	return version
}
