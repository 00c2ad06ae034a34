package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// level is what is logged. A logger's own level is fixed when it is copied; this one is asked for each line, before it is made.
type level struct{ is atomic.Int32 }

var _ zerolog.Sampler = (*level)(nil)

// Sample implements zerolog.Sampler.
func (l *level) Sample(line zerolog.Level) bool { return int32(line) >= l.is.Load() }

func (l *level) set(to zerolog.Level) { l.is.Store(int32(to)) }

func (l *level) String() string { return zerolog.Level(l.is.Load()).String() } //nolint:gosec // set from one

const levelMost = 16 // bytes of a body that names one

// ServeHTTP answers GET with the level, and takes another by PUT. It is for the admin port.
func (l *level) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut:
		body, err := io.ReadAll(io.LimitReader(r.Body, levelMost))
		to, parsed := zerolog.ParseLevel(strings.TrimSpace(string(body)))
		if err != nil || parsed != nil || to < zerolog.TraceLevel || to > zerolog.ErrorLevel {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "expected one of trace, debug, info, warn, error\n")
			return
		}
		l.set(to)
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	_, _ = fmt.Fprintln(w, l)
}
