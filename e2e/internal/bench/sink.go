package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
)

// latencies is a histogram of microseconds up to two minutes, three digits exact.
type latencies struct{ h *hdrhistogram.Histogram }

func newLatencies() latencies { return latencies{hdrhistogram.New(1, 120e6, 3)} }

func (l latencies) record(d time.Duration) {
	_ = l.h.RecordValue(min(max(d.Microseconds(), 1), 120e6)) // within its bounds: cannot fail
}

// Quantiles are latencies as the report shows them.
type Quantiles struct {
	Count               int64
	P50, P99, P999, Max time.Duration
}

func (l latencies) quantiles() Quantiles {
	at := func(q float64) time.Duration { return time.Duration(l.h.ValueAtQuantile(q)) * time.Microsecond }
	return Quantiles{l.h.TotalCount(), at(50), at(99), at(99.9), time.Duration(l.h.Max()) * time.Microsecond}
}

// SinkStats is what a sink has seen.
type SinkStats struct {
	Requests int64 // webhooks
	Unique   int64 // different webhook-ids
	Unmarked int64 // requests without a webhook-id; must be 0
	EndToEnd Quantiles
}

const (
	hangPath = "/hang"
	hangFor  = 20 * time.Second // longer than an attempt may take
)

// sink answers every webhook with 200 at once and remembers its id, but for those to hangPath. Its own paths begin with /_/.
type sink struct {
	mu       sync.Mutex
	seen     map[uuid.UUID]struct{}
	requests int64
	unmarked int64
	latency  latencies
}

// RunSink serves a sink until ctx ends. ready is told its address.
func RunSink(ctx context.Context, listen string, ready func(addr string)) error {
	s := &sink{seen: map[uuid.UUID]struct{}{}, latency: newLatencies()}
	return serveFast(ctx, listen, s.handle, ready)
}

func serveFast(ctx context.Context, listen string, handle fasthttp.RequestHandler, ready func(string)) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server := &fasthttp.Server{Handler: handle, NoDefaultDate: true, NoDefaultServerHeader: true, NoDefaultContentType: true, MaxRequestBodySize: 4 << 20}
	stop := context.AfterFunc(ctx, func() { _ = server.Shutdown() }) // ends by its own
	defer stop()
	ready(ln.Addr().String())
	return server.Serve(ln)
}

func (s *sink) handle(ctx *fasthttp.RequestCtx) {
	now := time.Now()
	if bytes.Equal(ctx.Path(), []byte(hangPath)) {
		time.Sleep(hangFor)
		return
	}
	if bytes.HasPrefix(ctx.Path(), []byte("/_/")) {
		s.control(ctx)
		return
	}
	id, err := uuid.ParseBytes(ctx.Request.Header.Peek("Webhook-Id"))
	sent, timed := stamped(ctx.Request.Body())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.unmarked++
		return
	}
	s.requests++
	s.seen[id] = struct{}{}
	if timed {
		s.latency.record(now.Sub(sent))
	}
}

func (s *sink) control(ctx *fasthttp.RequestCtx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch string(ctx.Path()) {
	case "/_/count":
		ctx.SetBodyString(strconv.Itoa(len(s.seen)))
	case "/_/stats": // and begins a new histogram
		body, err := json.Marshal(SinkStats{s.requests, int64(len(s.seen)), s.unmarked, s.latency.quantiles()})
		if err != nil {
			ctx.Error(err.Error(), http.StatusInternalServerError)
			return
		}
		s.latency.h.Reset()
		ctx.SetBody(body)
	case "/_/ids":
		for id := range s.seen {
			_, _ = ctx.Write(id[:]) // into memory
		}
	default:
		ctx.Error("unknown path", http.StatusNotFound)
	}
}
