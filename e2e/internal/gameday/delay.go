package gameday

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// delay is a proxy in front of a server that lets bytes through late: each as late as the delay says when it comes, in both directions. Many may be on
// their way at the same time, as on a long line.
type delay struct {
	addr    string
	by      atomic.Int64 // nanoseconds
	connect func(ctx context.Context) (net.Conn, error)
	ln      net.Listener
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// startDelay listens on a port of loopback.
func startDelay(ctx context.Context, connect func(ctx context.Context) (net.Conn, error)) (*delay, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	d := &delay{addr: ln.Addr().String(), connect: connect, ln: ln, stop: cancel}
	d.wg.Go(func() { d.accept(ctx) })
	return d, nil
}

func (d *delay) set(by time.Duration) { d.by.Store(int64(by)) }

// close ends all connections.
func (d *delay) close() {
	d.stop()
	_ = d.ln.Close() // accept ends by it
	d.wg.Wait()
}

func (d *delay) accept(ctx context.Context) {
	for {
		client, err := d.ln.Accept()
		if err != nil {
			return
		}
		d.wg.Go(func() { d.serve(ctx, client) })
	}
}

func (d *delay) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := d.connect(ctx)
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
			d.pump(ctx, way[0], way[1])
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
func (d *delay) pump(ctx context.Context, to io.Writer, from io.Reader) {
	line := make(chan chunk, 1024)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(line)
		for {
			buffer := make([]byte, 16<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				select {
				case line <- chunk{buffer[:n], time.Now().Add(time.Duration(d.by.Load()))}:
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
