package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The baselines are what the parts of the path reach alone, each written the plain way.

// RunChi serves the least that ingest could be: decode the body of POST /v1/events, answer 202. It stores nothing and knows nobody.
func RunChi(ctx context.Context, listen string, ready func(addr string)) error {
	r := chi.NewRouter()
	r.Post("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			EventType string          `json:"event_type"`
			Payload   json.RawMessage `json:"payload"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":"00000000-0000-7000-8000-000000000000","status":"queued"}`) // the caller's loss
	})
	return serve(ctx, listen, r, ready)
}

// serve serves until ctx ends.
func serve(ctx context.Context, listen string, handler http.Handler, ready func(addr string)) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	ready(ln.Addr().String())
	return server.Serve(ln)
}

// PostDirectly is the least that delivery could be: a net/http client that posts payloads to the sink. Rate and Connections are as in Load.
func PostDirectly(ctx context.Context, load Load) (Produced, error) {
	ctx, cancel := context.WithTimeout(ctx, load.Duration)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: load.Connections, MaxIdleConns: load.Connections}}
	p := &producer{load: load, start: time.Now()}
	all, out := newLatencies(), Produced{Refused: map[string]int64{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range load.Connections {
		wg.Go(func() {
			w := &worker{p: p, latency: newLatencies(), refused: map[string]int64{}}
			payload := payloadOf(load.PayloadSize)
			for at, ok := w.next(ctx); ok; at, ok = w.next(ctx) {
				stamp(payload, at)
				if err := postOne(client, load.URL, payload); err != nil {
					w.refused[rootCause(err).Error()]++
					continue
				}
				w.latency.record(time.Since(at))
				p.accepted.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			all.h.Merge(w.latency.h)
			for why, n := range w.refused {
				out.Refused[why] += n
			}
		})
	}
	wg.Wait()
	out.Accepted, out.Elapsed, out.Accept = p.accepted.Load(), time.Since(p.start), all.quantiles()
	return out, nil
}

func postOne(client *http.Client, url string, payload []byte) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", id.String())
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

const (
	baselineBatch = 256
	baselineConns = 2
)

// The baseline's rows are those that an event leaves behind when it was delivered at the first attempt, in tables of the same shape, without
// partitions, policies and rules.
const (
	createBaseline = `
CREATE SCHEMA IF NOT EXISTS baseline;
DROP TABLE IF EXISTS baseline.webhook_events, baseline.deliveries, baseline.delivery_attempts;
CREATE TABLE baseline.webhook_events (tenant_id uuid, id uuid, event_type text, payload bytea, PRIMARY KEY (tenant_id, id));
CREATE TABLE baseline.deliveries (tenant_id uuid, id uuid, event_id uuid, endpoint_id uuid, status text, attempts int, next_attempt_at timestamptz, PRIMARY KEY (tenant_id, id));
CREATE TABLE baseline.delivery_attempts (tenant_id uuid, id uuid, delivery_id uuid, started_at timestamptz, status_code int, PRIMARY KEY (tenant_id, id));`
	baselineEvents     = `INSERT INTO baseline.webhook_events SELECT $1, id, 'order.paid', $3 FROM unnest($2::uuid[]) AS id`
	baselineDeliveries = `INSERT INTO baseline.deliveries SELECT $1, id, id, $1, 'pending', 0, now() FROM unnest($2::uuid[]) AS id`
	baselineAttempts   = `INSERT INTO baseline.delivery_attempts SELECT $1, id, id, now(), 200 FROM unnest($2::uuid[]) AS id`
	baselineOutcomes   = `UPDATE baseline.deliveries d SET status = 'delivered', attempts = 1 FROM unnest($2::uuid[]) AS r (id) WHERE d.tenant_id = $1 AND d.id = r.id`
	dropBaseline       = `DROP SCHEMA baseline CASCADE`
)

// baselines are those of one payload size. CPU is in microseconds per event.
type baselines struct {
	chi                  loadResult
	chiCPU, chiClientCPU float64
	chiMemory            int64
	direct               loadResult
	directCPU, sinkCPU   float64
	directMemory         int64
	directArrival        Quantiles // until the sink had the request, as end to end is measured
	rows, whole          part      // Postgres until the 202, and until the delivery has ended
	jetstream            part
}

// part is a store alone.
type part struct {
	rate  float64 // events/s
	cpu   float64 // of the server, microseconds per event
	bytes float64 // written per event
}

func (s *suite) measureBaselines(ctx context.Context) error {
	variants := []variant{{s.Payloads[0], s.Fewer}}
	for _, size := range s.Payloads {
		variants = append(variants, variant{size, s.Connections})
	}
	for _, v := range variants {
		s.say("baselines with %d bytes, %d connections", v.size, v.connections)
		b := &baselines{}
		s.base[v] = b
		parts := []func(context.Context, variant, *baselines) error{s.chiAlone, s.clientAlone, s.postgresAlone, s.jetStreamAlone}
		if v.connections != s.Connections {
			parts = parts[:2] // the others have none
		}
		for _, measure := range parts {
			if err := measure(ctx, v, b); err != nil {
				return fmt.Errorf("baseline: %w", err)
			}
		}
	}
	b := s.main()
	s.heading(fmt.Sprintf("Baselines, %s each", s.Baseline))
	for _, f := range []figure{
		{name: "bare chi handler: decode, 202", value: b.chi.perSecond(), unit: "/s"},
		{name: "bare net/http client to sink", value: b.direct.perSecond(), unit: "/s"},
		{name: "Postgres alone, event and delivery rows, batches of 256 on 2 connections", value: b.rows.rate, unit: "/s"},
		{name: "Postgres alone, all rows of an event that is delivered", value: b.whole.rate, unit: "/s"},
		{name: "JetStream alone, publish and consume, a message per delivery", value: b.jetstream.rate, unit: "/s"},
	} {
		s.add(f)
	}
	return nil
}

func (s *suite) chiAlone(ctx context.Context, v variant, b *baselines) (err error) {
	h, err := startHelper(roleChi)
	if err != nil {
		return err
	}
	defer h.stop()
	load := s.closed(v.size, s.Baseline)
	load.Connections = v.connections
	load.URL, load.Keys, load.Types = "http://"+h.addr+"/v1/events", []string{s.APIKey}, s.types
	before := cpuOf(h.pid())
	if b.chi, err = runLoadProcess(ctx, roleProducer, load, func(int64) {}); err != nil {
		return err
	}
	b.chiCPU, b.chiClientCPU = perThousand(cpuOf(h.pid())-before, b.chi.Accepted), perThousand(b.chi.cpu, b.chi.Accepted)
	b.chiMemory = peakOf(h.pid())
	return nil
}

func (s *suite) clientAlone(ctx context.Context, v variant, b *baselines) (err error) {
	h, err := startHelper(roleSink) // one of its own: these are no events
	if err != nil {
		return err
	}
	defer h.stop()
	load := s.closed(v.size, s.Baseline)
	load.Connections = v.connections
	load.URL = "http://" + h.addr + "/hook"
	before := cpuOf(h.pid())
	if b.direct, err = runLoadProcess(ctx, roleDirect, load, func(int64) {}); err != nil {
		return err
	}
	stats, err := statsOf(ctx, h.addr)
	if err != nil {
		return err
	}
	b.directArrival = stats.EndToEnd
	b.directCPU, b.sinkCPU = perThousand(b.direct.cpu, b.direct.Accepted), perThousand(cpuOf(h.pid())-before, b.direct.Accepted)
	b.directMemory = b.direct.memory
	return nil
}

// baselinesAt measures the bare handler and the bare client under a load of a fixed rate.
func (s *suite) baselinesAt(ctx context.Context, load Load) (chi loadResult, direct Quantiles, err error) {
	load.Duration = min(load.Duration, 2*s.Baseline)
	h, err := startHelper(roleChi)
	if err != nil {
		return chi, direct, err
	}
	defer h.stop()
	load.URL, load.Keys, load.Types = "http://"+h.addr+"/v1/events", []string{s.APIKey}, s.types
	if chi, err = runLoadProcess(ctx, roleProducer, load, func(int64) {}); err != nil {
		return chi, direct, err
	}
	sink, err := startHelper(roleSink)
	if err != nil {
		return chi, direct, err
	}
	defer sink.stop()
	load.URL = "http://" + sink.addr + "/hook"
	if _, err = runLoadProcess(ctx, roleDirect, load, func(int64) {}); err != nil {
		return chi, direct, err
	}
	stats, err := statsOf(ctx, sink.addr)
	return chi, stats.EndToEnd, err
}

func (s *suite) postgresAlone(ctx context.Context, v variant, b *baselines) error {
	for _, into := range []struct {
		part  *part
		whole bool
	}{{&b.rows, false}, {&b.whole, true}} {
		if err := s.postgresPart(ctx, payloadOf(v.size), into.whole, into.part); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) postgresPart(ctx context.Context, payload []byte, whole bool, into *part) error {
	pool, err := pgxpool.New(ctx, s.DatabaseURL())
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, createBaseline); err != nil {
		return fmt.Errorf("create baseline tables: %w", err)
	}
	defer pool.Exec(context.WithoutCancel(ctx), dropBaseline) //nolint:errcheck // the database goes away with the benchmark
	before, err := s.usage(ctx)
	if err != nil {
		return err
	}
	events, took, err := storeRows(ctx, pool, payload, whole, s.Baseline)
	if err != nil {
		return err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return err
	}
	n := float64(events)
	*into = part{n / took.Seconds(), float64((after.cpu["postgres"] - before.cpu["postgres"]).Microseconds()) / n, float64(after.wal-before.wal) / n}
	return nil
}

func (s *suite) jetStreamAlone(ctx context.Context, _ variant, b *baselines) error {
	cpu, written := cpuOf(s.NATS.PID()), writtenBy(s.NATS.PID())
	rate, err := JetStreamAlone(ctx, s.NATSURL(), s.Baseline)
	events := rate * s.Baseline.Seconds()
	b.jetstream = part{rate, float64((cpuOf(s.NATS.PID()) - cpu).Microseconds()) / events, float64(writtenBy(s.NATS.PID())-written) / events}
	return err
}

// storeRows stores the rows of events in batches of 256 on two connections, and says of how many events, and how long that took. With
// whole, that is everything an event needs until it is delivered; without, what it needs until it is accepted.
func storeRows(ctx context.Context, pool *pgxpool.Pool, payload []byte, whole bool, during time.Duration) (stored int64, took time.Duration, err error) {
	var events atomic.Int64
	errs := make(chan error, baselineConns)
	start := time.Now()
	for range baselineConns {
		go func() {
			tenant := uuid.New()
			for time.Since(start) < during {
				if err := storeBatch(ctx, pool, tenant, payload, whole); err != nil {
					errs <- err
					return
				}
				events.Add(baselineBatch)
			}
			errs <- nil
		}()
	}
	for range baselineConns {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return events.Load(), time.Since(start), err
}

func storeBatch(ctx context.Context, pool *pgxpool.Pool, tenant uuid.UUID, payload []byte, whole bool) error {
	ids := make([]uuid.UUID, baselineBatch)
	for i := range ids {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		ids[i] = id
	}
	accept := &pgx.Batch{}
	accept.Queue(baselineEvents, tenant, ids, payload)
	accept.Queue(baselineDeliveries, tenant, ids)
	if err := pool.SendBatch(ctx, accept).Close(); err != nil || !whole {
		return err
	}
	record := &pgx.Batch{}
	record.Queue(baselineAttempts, tenant, ids)
	record.Queue(baselineOutcomes, tenant, ids)
	return pool.SendBatch(ctx, record).Close()
}

// JetStreamAlone publishes messages like ours asynchronously to a work queue of its own while one consumer pulls and acknowledges them, and
// says how many go through each second.
func JetStreamAlone(ctx context.Context, url string, during time.Duration) (perSecond float64, err error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1024))
	if err != nil {
		return 0, err
	}
	const stream = "BASELINE"
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{"baseline"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage}); err != nil {
		return 0, err
	}
	defer js.DeleteStream(context.WithoutCancel(ctx), stream) //nolint:errcheck // the broker goes away with the benchmark
	consumer, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: "baseline", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4096})
	if err != nil {
		return 0, err
	}
	var consumed atomic.Int64
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		_ = m.Ack() // a lost one is counted twice at most
		consumed.Add(1)
	}, jetstream.PullMaxMessages(1024))
	if err != nil {
		return 0, err
	}
	defer consuming.Stop()
	start := time.Now()
	for n := int64(0); time.Since(start) < during; n++ {
		msg := nats.NewMsg("baseline")
		msg.Data = make([]byte, messageBytes)
		msg.Header.Set(jetstream.MsgIDHeader, uuid.NewString()+".1")
		if _, err := js.PublishMsgAsync(msg); err != nil {
			return 0, err
		}
		for n-consumed.Load() > baselineBacklog && time.Since(start) < during {
			time.Sleep(time.Millisecond)
		}
	}
	return float64(consumed.Load()) / time.Since(start).Seconds(), nil
}

const (
	messageBytes    = 96 // about what a deliveries.ready message has
	baselineBacklog = 4096
)
