package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
)

// Load is what a producer does. With Rate it is an open loop: event n is due at start + n/Rate whatever became of those before, and its
// latency counts from then (so that a stalled system cannot hide the requests that it kept waiting: coordinated omission). Without, each
// connection posts as soon as it has its answer.
type Load struct {
	URL         string
	Keys        []string // API keys, one per tenant; each event is for a random one
	Types       []string // event types, each event has a random one
	PayloadSize int
	Connections int
	Rate        float64 // events/s; 0 is a closed loop
	Duration    time.Duration
	// SinkCount and Window bound the backlog of a closed loop: it waits while more than Window accepted events have not arrived. "" is no bound.
	SinkCount string
	Window    int64
	IDs       string // file that the ids of accepted events are written to
}

// Produced is what came of a load.
type Produced struct {
	Accepted int64
	Refused  map[string]int64 // by status or error
	Elapsed  time.Duration
	Accept   Quantiles
}

// producer runs one load.
type producer struct {
	load   Load
	client *fasthttp.HostClient
	path   string

	start    time.Time
	ticks    atomic.Int64
	accepted atomic.Int64
	arrived  atomic.Int64 // at the sink, of this load
}

// worker is one connection of a producer.
type worker struct {
	p       *producer
	bodies  [][]byte // one per type
	stamps  [][]byte // the payloads within bodies
	auths   []string
	latency latencies
	ids     []uuid.UUID
	refused map[string]int64
}

// Produce runs a load and gives its result and the ids of accepted events. progress is told each second how many were accepted so far.
func Produce(ctx context.Context, load Load, progress func(accepted int64)) (Produced, []uuid.UUID, error) {
	u, err := url.Parse(load.URL)
	if err != nil {
		return Produced{}, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, load.Duration)
	defer cancel()
	p := &producer{load: load, path: u.String(), client: &fasthttp.HostClient{
		Addr: u.Host, MaxConns: load.Connections + 1, ReadTimeout: time.Minute, WriteTimeout: time.Minute, NoDefaultUserAgentHeader: true,
	}}
	p.start = time.Now()
	var side sync.WaitGroup
	side.Go(func() { p.report(ctx, progress) })
	if load.Window > 0 {
		base, err := p.sinkCount()
		if err != nil {
			return Produced{}, nil, err
		}
		side.Go(func() { p.watch(ctx, base) })
	}
	workers := make([]*worker, load.Connections)
	var wg sync.WaitGroup
	for i := range workers {
		workers[i] = p.worker()
		wg.Go(func() { workers[i].run(ctx) })
	}
	wg.Wait()
	elapsed := time.Since(p.start)
	cancel()
	side.Wait()
	return p.sum(workers, elapsed)
}

func (p *producer) sum(workers []*worker, elapsed time.Duration) (Produced, []uuid.UUID, error) {
	all, out := newLatencies(), Produced{Refused: map[string]int64{}, Elapsed: elapsed}
	var ids []uuid.UUID
	for _, w := range workers {
		all.h.Merge(w.latency.h)
		ids = append(ids, w.ids...)
		for why, n := range w.refused {
			out.Refused[why] += n
		}
	}
	out.Accepted, out.Accept = p.accepted.Load(), all.quantiles()
	return out, ids, nil
}

func (p *producer) report(ctx context.Context, progress func(int64)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			progress(p.accepted.Load())
		case <-ctx.Done():
			return
		}
	}
}

// watch follows how many events have arrived.
func (p *producer) watch(ctx context.Context, base int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if n, err := p.sinkCount(); err == nil {
			p.arrived.Store(n - base)
		}
	}
}

func (p *producer) sinkCount() (int64, error) {
	status, body, err := fasthttp.Get(nil, p.load.SinkCount)
	if err != nil {
		return 0, fmt.Errorf("ask sink: %w", err)
	}
	if status != fasthttp.StatusOK {
		return 0, fmt.Errorf("ask sink: status %d", status)
	}
	return strconv.ParseInt(string(body), 10, 64)
}

func (p *producer) worker() *worker {
	w := &worker{p: p, latency: newLatencies(), refused: map[string]int64{}}
	for _, t := range p.load.Types {
		head := `{"event_type":"` + t + `","payload":`
		body := append([]byte(head), payloadOf(p.load.PayloadSize)...)
		body = append(body, '}')
		w.bodies, w.stamps = append(w.bodies, body), append(w.stamps, body[len(head):len(body)-1])
	}
	for _, key := range p.load.Keys {
		w.auths = append(w.auths, "Bearer "+key)
	}
	return w
}

func (w *worker) run(ctx context.Context) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(w.p.path)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	for {
		at, ok := w.next(ctx)
		if !ok {
			return
		}
		kind := rand.IntN(len(w.bodies))
		stamp(w.stamps[kind], at)
		req.Header.Set("Authorization", w.auths[rand.IntN(len(w.auths))])
		req.SetBodyRaw(w.bodies[kind])
		w.note(at, resp, w.p.client.Do(req, resp))
	}
}

// next waits until an event is due and gives the moment from which it counts.
func (w *worker) next(ctx context.Context) (time.Time, bool) {
	p := w.p
	if p.load.Rate > 0 {
		n := p.ticks.Add(1) - 1
		at := p.start.Add(time.Duration(float64(n) / p.load.Rate * float64(time.Second)))
		return at, at.Sub(p.start) < p.load.Duration && sleep(ctx, time.Until(at))
	}
	for p.load.Window > 0 && p.accepted.Load()-p.arrived.Load() > p.load.Window {
		if !sleep(ctx, time.Millisecond) {
			return time.Time{}, false
		}
	}
	return time.Now(), ctx.Err() == nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *worker) note(at time.Time, resp *fasthttp.Response, err error) {
	w.latency.record(time.Since(at)) // also of one that failed: it was waited for
	if err != nil {
		w.refused[rootCause(err).Error()]++
		return
	}
	if resp.StatusCode() != fasthttp.StatusAccepted {
		w.refused[strconv.Itoa(resp.StatusCode())]++
		return
	}
	w.p.accepted.Add(1)
	if id, ok := answeredID(resp.Body()); ok {
		w.ids = append(w.ids, id)
	}
}

func rootCause(err error) error {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

// answeredID finds the id in `{"id":"…",…}`.
func answeredID(body []byte) (uuid.UUID, bool) {
	const head = `{"id":"`
	if len(body) < len(head)+36 || string(body[:len(head)]) != head {
		return uuid.Nil, false
	}
	id, err := uuid.ParseBytes(body[len(head) : len(head)+36])
	return id, err == nil
}
