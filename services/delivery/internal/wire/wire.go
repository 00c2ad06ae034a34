// Package wire makes HTTP/1.1 exchanges (RFC 9112) with endpoints: a POST and its answer, on the goroutine of the caller.
//
// It owns the connections, their reuse, and the limits that hold whatever the other side does. It follows no redirect, keeps no cookie,
// decompresses nothing, uses no proxy and never repeats a request. It knows nothing of webhooks, and judges no status.
//
// Why not net/http: its client hands every exchange to two goroutines per connection and back. See docs/adr/0011.
package wire

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"syscall"
	"time"
)

// Config of a Client.
type Config struct {
	// Control sees every address before it is dialled and may refuse it, see net.Dialer.Control.
	Control    func(network, address string, c syscall.RawConn) error
	SecureOnly bool          // refuse what is not https, with an InsecureError and without a connection
	Resolver   *net.Resolver // nil: the system's
	TLS        *tls.Config   // nil: the system's roots
	Limits     Limits
}

// Limits hold for every exchange. Zero fields take the default.
type Limits struct {
	Connect     time.Duration // resolving the name and connecting; default 5 s
	Handshake   time.Duration // of TLS; default 5 s
	Header      time.Duration // from the end of the request to the end of the answer's header; default: none but the deadline
	HeaderBytes int           // of an answer, interim answers included; default 64 KiB
	Excerpt     int           // bytes of an answer's body that are kept; default 4 KiB
	Drain       int           // bytes read beyond those, so that the connection can be used again; default 64 KiB
	IdlePerHost int           // connections that wait for their next use; default 512
	Idle        int           // the same, of all hosts together; default 4096
	IdleFor     time.Duration // they wait for so long; default 90 s
}

func (l Limits) withDefaults() Limits {
	l.Connect, l.Handshake, l.IdleFor = orElse(l.Connect, 5*time.Second), orElse(l.Handshake, 5*time.Second), orElse(l.IdleFor, 90*time.Second)
	l.HeaderBytes, l.Excerpt, l.Drain = orElse(l.HeaderBytes, 64<<10), orElse(l.Excerpt, 4<<10), orElse(l.Drain, 64<<10)
	l.IdlePerHost, l.Idle = orElse(l.IdlePerHost, 512), orElse(l.Idle, 4096)
	return l
}

func orElse[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

// Phase is a part of an exchange.
type Phase string

// The phases, in order.
const (
	Connect   Phase = "connect" // resolve the name, connect
	Handshake Phase = "handshake"
	Send      Phase = "send"
	Wait      Phase = "wait" // for the end of the answer's header
	Receive   Phase = "receive"
)

// Error says in which phase an exchange failed, and why.
type Error struct {
	Phase Phase
	Err   error
}

func (e *Error) Error() string { return string(e.Phase) + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// OversizeError says that an answer's header is larger than this limit, in bytes.
type OversizeError int

func (e OversizeError) Error() string {
	return "the header has more than " + strconv.Itoa(int(e)) + " bytes"
}

// ProtocolError says that an answer is not HTTP/1.1 as RFC 9112 has it.
type ProtocolError string

func (e ProtocolError) Error() string { return string(e) }

// InvalidURLError says that no request can be made from a URL.
type InvalidURLError struct{ Err error }

func (e *InvalidURLError) Error() string { return "invalid URL: " + e.Err.Error() }

func (e *InvalidURLError) Unwrap() error { return e.Err }

// InsecureError says that a URL is http where only https is permitted.
type InsecureError struct{}

func (InsecureError) Error() string { return "the scheme is not https" }

// Request is a POST. Host and Content-Length are added to its header.
type Request struct {
	URL    string
	Header []Field
	Body   []byte
	Timing *Timing // if set, it is filled in, and the exchange has a connection of its own
}

// Timing says how long the phases of an exchange took.
type Timing struct {
	Resolve, Connect, Handshake, Send, Wait, Receive time.Duration
}

// Field is a line of a header. Name is a token; what Value must not hold (RFC 9110, 5.5) is replaced by spaces.
type Field struct{ Name, Value string }

// Answer is what an endpoint said.
type Answer struct {
	Status    int    // of the last answer; 0: none came
	Excerpt   []byte // the start of its body; nil: there was none
	Truncated bool   // the body is longer

	RetryAfter string // the field of that name (RFC 9110, 10.2.3), as it came; "": none
}

// Client makes exchanges. It is safe for concurrent use. Close it.
type Client struct {
	dialer     net.Dialer
	secureOnly bool
	tls        *tls.Config
	limits     Limits
	pool       *pool
}

// NewClient makes a Client with its own connections.
func NewClient(cfg Config) *Client {
	secure := cfg.TLS.Clone()
	if secure == nil {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	secure.NextProtos = []string{"http/1.1"}
	limits := cfg.Limits.withDefaults()
	return &Client{
		dialer:     net.Dialer{KeepAlive: 30 * time.Second, Control: cfg.Control, Resolver: cfg.Resolver},
		secureOnly: cfg.SecureOnly, tls: secure, limits: limits, pool: newPool(limits),
	}
}

// Close closes the connections that wait. Those in use are closed after it.
func (c *Client) Close() { c.pool.close() }

// Post sends a request and reads the answer. All of that ends at the deadline, and at once when ctx ends. What was read before an error is
// in the answer. The error is an *Error, an *InvalidURLError or an InsecureError.
func (c *Client) Post(ctx context.Context, r *Request, deadline time.Time) (Answer, error) {
	x := exchanges.Get().(*exchange) //nolint:errcheck // the pool holds nothing else
	defer x.release()
	at, err := x.prepare(r)
	if err != nil {
		return Answer{}, &InvalidURLError{err}
	}
	if c.secureOnly && !at.secure {
		return Answer{}, InsecureError{}
	}
	x.timing = r.Timing
	conn, err := c.connection(ctx, at, deadline, r.Timing)
	if err != nil {
		return Answer{}, err
	}
	// Whoever waits for this connection is woken by a deadline that has passed.
	uncut := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past()) })
	if ctx.Err() != nil {
		_ = conn.Close()
		return Answer{}, &Error{Send, ctx.Err()} // and nothing was sent
	}
	answer, again, err := x.over(ctx, conn.Conn, c.limits, deadline)
	if uncut() && again && r.Timing == nil {
		c.pool.put(conn)
	} else {
		_ = conn.Close()
	}
	return answer, err
}

func past() time.Time { return time.Unix(1, 0) }

// connection gives one on which nothing was sent by this exchange yet and whose deadline is set.
func (c *Client) connection(ctx context.Context, at address, deadline time.Time, timing *Timing) (*conn, error) {
	if timing != nil {
		return c.connect(ctx, at, deadline, timing)
	}
	for idle := c.pool.get(at); idle != nil; idle = c.pool.get(at) {
		if idle.ready(deadline) {
			return idle, nil
		}
		_ = idle.Close()
	}
	return c.connect(ctx, at, deadline, nil)
}

func (c *Client) connect(ctx context.Context, at address, deadline time.Time, timing *Timing) (*conn, error) {
	watch := watchOf(timing)
	raw, err := c.dial(watch.resolving(ctx), at, deadline)
	watch.lap(func(t *Timing, took time.Duration) { t.Connect = took - t.Resolve })
	if err != nil {
		return nil, &Error{Connect, err}
	}
	made := newConn(raw, at)
	if at.secure {
		made.Conn, err = c.handshake(ctx, raw, at, deadline)
		watch.lap(func(t *Timing, took time.Duration) { t.Handshake = took })
		if err != nil {
			_ = raw.Close()
			return nil, &Error{Handshake, err}
		}
	}
	if err := made.SetDeadline(deadline); err != nil {
		_ = made.Close()
		return nil, &Error{Connect, err}
	}
	return made, nil
}

func (c *Client) dial(ctx context.Context, at address, deadline time.Time) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, earlier(deadline, time.Now().Add(c.limits.Connect)))
	defer cancel()
	return c.dialer.DialContext(ctx, "tcp", at.host)
}

func (c *Client) handshake(ctx context.Context, raw net.Conn, at address, deadline time.Time) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, earlier(deadline, time.Now().Add(c.limits.Handshake)))
	defer cancel()
	cfg := c.tls
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = at.name()
	}
	secure := tls.Client(raw, cfg)
	err := secure.HandshakeContext(ctx)
	return secure, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
