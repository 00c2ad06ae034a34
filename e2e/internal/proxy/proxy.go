// Package proxy passes connections on: as late as it is told, and to whom it is told for each.
package proxy

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// Proxy lets bytes through late: each as late as the delay says when it comes, in both directions. Many may be on their way at the same time, as on a long
// line. Without a delay they go on at once.
type Proxy struct {
	Addr string // host:port that it listens on

	by      atomic.Int64 // nanoseconds
	connect func(ctx context.Context) (net.Conn, error)
	ln      net.Listener
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// Start listens on a port of a host that is free. connect is asked for the far end of each connection; where it fails, the connection is closed.
func Start(ctx context.Context, host string, connect func(ctx context.Context) (net.Conn, error)) (*Proxy, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Proxy{Addr: ln.Addr().String(), connect: connect, ln: ln, stop: cancel}
	p.wg.Go(func() { p.accept(ctx) })
	return p, nil
}

// Postgres is a proxy in front of the database that a URL names, and the URL that leads through it.
func Postgres(ctx context.Context, host, direct string) (*Proxy, string, error) {
	config, err := pgconn.ParseConfig(direct)
	if err != nil {
		return nil, "", err
	}
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	p, err := Start(ctx, host, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, address) })
	if err != nil {
		return nil, "", err
	}
	through := url.URL{Scheme: "postgres", User: url.User(config.User), Host: p.Addr, Path: "/" + config.Database, RawQuery: "sslmode=disable"}
	return p, through.String(), nil
}

// Set changes the delay, for what comes from now on.
func (p *Proxy) Set(by time.Duration) { p.by.Store(int64(by)) }

// Close ends all connections.
func (p *Proxy) Close() {
	p.stop()
	_ = p.ln.Close() // accept ends by it
	p.wg.Wait()
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(ctx, client) })
	}
}

func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := p.connect(ctx)
	if err != nil {
		return
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closeBoth := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer closeBoth()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{server, client}, {client, server}} {
		both.Go(func() {
			defer cancel()
			p.pump(ctx, way[0], way[1])
		})
	}
	both.Wait()
}

// chunk is what was read at once, and when it may go on.
type chunk struct {
	bytes []byte
	due   time.Time
}

// pump passes on until one side ends; what was read by then still arrives.
func (p *Proxy) pump(ctx context.Context, to io.Writer, from io.Reader) {
	line := make(chan chunk, 1024)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(line)
		for {
			buffer := make([]byte, 16<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				select {
				case line <- chunk{buffer[:n], time.Now().Add(time.Duration(p.by.Load()))}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range line {
		if wait := time.Until(c.due); wait > 0 && !lifecycle.Wait(ctx, wait) {
			break
		}
		if _, err := to.Write(c.bytes); err != nil {
			break
		}
	}
	if closer, ok := from.(io.Closer); ok {
		_ = closer.Close() // the reader ends by it
	}
	reader.Wait()
}
