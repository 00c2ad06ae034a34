// Package natsembed runs a NATS server with JetStream inside the calling process.
//
// It owns the server's life: its store directory, its optional TCP listener, its log lines and its end. It knows
// no stream, subject or consumer (proto, services/*/internal/stream). The server never handles signals, never
// exits the process, and keeps no state outside its store directory, so several fit in one test.
package natsembed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

const (
	defaultMaxMemory = 256 << 20
	startTimeout     = 30 * time.Second
)

// Config describes a server. Only StoreDir is required.
type Config struct {
	StoreDir   string // JetStream's files; created when missing; one server at a time may use it
	Listen     string // TCP address "host:port", port 0 for a free one; empty: connections from this process only
	ServerName string // shown to clients; default "beaconpost"

	MaxMemory    int64         // bytes for memory-backed streams; default 256 MiB (the server's own default is 75 % of RAM)
	MaxStore     int64         // bytes for file-backed streams; default 75 % of the free disk, a limit and no reservation
	SyncInterval time.Duration // how often files are fsynced; default 2 minutes, because the broker is disposable

	Logger zerolog.Logger // receives warnings and errors; the zero Logger drops them
}

// Server is a running NATS server. Its methods may be called concurrently.
type Server struct {
	srv    *server.Server
	listen bool
}

// Start runs a server and returns when it accepts connections. JetStream has then recovered its streams.
func Start(cfg Config) (*Server, error) {
	opts, err := options(cfg)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure nats server: %w", err)
	}
	log := &logger{log: cfg.Logger}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if err := log.fatal(); err != nil {
		srv.Shutdown()
		return nil, fmt.Errorf("start nats server: %w", err)
	}
	if !srv.ReadyForConnections(startTimeout) {
		srv.Shutdown()
		return nil, fmt.Errorf("start nats server: not ready after %s", startTimeout)
	}
	return &Server{srv: srv, listen: cfg.Listen != ""}, nil
}

func options(cfg Config) (*server.Options, error) {
	if cfg.StoreDir == "" {
		return nil, errors.New("configure nats server: no store directory")
	}
	opts := &server.Options{
		ServerName:         cfg.ServerName,
		DontListen:         cfg.Listen == "",
		JetStream:          true,
		StoreDir:           cfg.StoreDir,
		JetStreamMaxMemory: cfg.MaxMemory,
		JetStreamMaxStore:  cfg.MaxStore,
		SyncInterval:       cfg.SyncInterval,
		NoSigs:             true,
	}
	if opts.ServerName == "" {
		opts.ServerName = "beaconpost"
	}
	if opts.JetStreamMaxMemory == 0 {
		opts.JetStreamMaxMemory = defaultMaxMemory
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("configure nats server: listen address: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("configure nats server: listen port: %w", err)
	}
	opts.Host, opts.Port = host, int(n)
	if n == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return opts, nil
}

// URL is where other processes connect, or empty when the server has no TCP listener.
func (s *Server) URL() string {
	if !s.listen {
		return ""
	}
	return s.srv.ClientURL()
}

// ClientOptions are the options that make nats.Connect reach this server without TCP.
func (s *Server) ClientOptions() []nats.Option {
	return []nats.Option{nats.InProcessServer(s.srv)}
}

// Connect opens a connection inside the process. The caller closes it, before Shutdown if what it sent shall arrive.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append(s.ClientOptions(), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded nats: %w", err)
	}
	return nc, nil
}

// Shutdown closes connections, writes JetStream's state and waits for the server's goroutines. It returns early,
// with ctx's error, when ctx ends first; the shutdown then goes on. Further calls wait for the same end.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut down nats server: %w", ctx.Err())
	}
}
