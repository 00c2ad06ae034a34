package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server serves one handler on one listener.
type Server struct {
	http *http.Server
	addr net.Addr
	done chan struct{} // closed when serving has ended
	err  error         // of serving; read after done
}

// Serve starts serving on addr (host:port; port 0 takes a free one). The error names the address.
func Serve(ctx context.Context, addr string, handler http.Handler) (*Server, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &ListenError{Addr: addr, Err: err}
	}
	s := &Server{
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      60 * time.Second,
			IdleTimeout:       120 * time.Second,
			MaxHeaderBytes:    64 << 10,
		},
		addr: ln.Addr(),
		done: make(chan struct{}),
	}
	go func() {
		s.err = s.http.Serve(ln)
		close(s.done)
	}()
	return s, nil
}

// ListenError says that an address could not be listened on.
type ListenError struct {
	Addr string
	Err  error
}

func (e *ListenError) Error() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return "listen on " + e.Addr + ": another program uses this port"
	}
	return "listen on " + e.Addr + ": " + e.Err.Error()
}

// Unwrap gives the system's error.
func (e *ListenError) Unwrap() error { return e.Err }

// Addr gives the address that is listened on.
func (s *Server) Addr() string { return s.addr.String() }

// Stop takes no new connections, lets requests finish until ctx ends, then closes what is left. It may be called again.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("finish requests on %s: %w", s.Addr(), err), s.http.Close())
	}
	<-s.done
	if !errors.Is(s.err, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve %s: %w", s.Addr(), s.err))
	}
	return err
}

// Admin gives the handler of a service's admin port: /metrics, /healthz (the process lives), /readyz (ready says nil) and pprof.
func Admin(reg *prometheus.Registry, ready func(context.Context) error) http.Handler {
	r := chi.NewRouter()
	r.Get("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, EnableOpenMetrics: true}).ServeHTTP)
	r.Get("/healthz", serveBytes("text/plain; charset=utf-8", []byte("ok\n")))
	r.Get("/readyz", Readyz(ready))
	r.HandleFunc("/debug/pprof/*", pprof.Index)
	r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return r
}

// Readyz answers 200 when ready returns nil within 2 s, else 503 with the reason.
func Readyz(ready func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := ready(ctx); err != nil {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintf(w, "not ready: %v\n", err)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	}
}
