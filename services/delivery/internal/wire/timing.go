package wire

import (
	"context"
	"net/http/httptrace"
	"time"
)

// watch measures phases one after another; one for no Timing measures nothing.
type watch struct {
	timing *Timing
	since  time.Time
}

func watchOf(t *Timing) watch {
	if t == nil {
		return watch{}
	}
	return watch{t, time.Now()}
}

// lap notes what the phase that ends now took. The next one begins.
func (w *watch) lap(note func(t *Timing, took time.Duration)) {
	if w.timing == nil {
		return
	}
	now := time.Now()
	note(w.timing, now.Sub(w.since))
	w.since = now
}

// resolving has the resolver's time noted.
func (w *watch) resolving(ctx context.Context) context.Context {
	if w.timing == nil {
		return ctx
	}
	var began time.Time
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { began = time.Now() },
		DNSDone:  func(httptrace.DNSDoneInfo) { w.timing.Resolve = time.Since(began) },
	})
}
