package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	oneWrite   = 16 << 10              // a request whose body has no more bytes is one write; a larger one is written beside the reading: the answer may come before its end
	lastWrite  = 10 * time.Millisecond // for the goroutine that writes to say that it is done, after the answer
	keepBuffer = 64 << 10
)

// exchange is the state of one, with buffers that the next one uses again.
type exchange struct {
	head, body []byte // of the request; body is empty if head holds it

	ctx      context.Context // cuts the exchange
	conn     net.Conn
	deadline time.Time
	limits   Limits
	in       *bufio.Reader
	budget   int // bytes of header that may still come
	framing  framing
	chunks   io.Reader // of a chunked body
	scratch  []byte
	answer   Answer
	reusable bool // the connection, after an exchange without error
	timing   *Timing
	watch    watch
}

//nolint:gochecknoglobals // buffers without meaning
var exchanges = sync.Pool{New: func() any { return &exchange{in: bufio.NewReaderSize(nil, 4096)} }}

// release gives the buffers to the next exchange.
func (x *exchange) release() {
	*x = exchange{in: x.in, head: x.head[:0], scratch: x.scratch}
	x.in.Reset(nil)
	if cap(x.head) <= keepBuffer {
		exchanges.Put(x)
	}
}

// prepare makes the request.
func (x *exchange) prepare(r *Request) (address, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return address{}, err
	}
	at, err := addressOf(u)
	if err != nil {
		return at, err
	}
	target, err := requestTarget(u)
	if err != nil {
		return at, err
	}
	host, err := hostField(u)
	if err != nil {
		return at, err
	}
	b := x.head[:0]
	b = append(b, "POST "...)
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	b = append(b, "\r\n"...)
	for _, f := range r.Header {
		b = appendField(b, f)
	}
	b = append(b, "\r\n"...)
	x.body = r.Body
	if len(r.Body) <= oneWrite {
		b, x.body = append(b, r.Body...), nil
	}
	x.head = b
	return at, nil
}

// over makes the exchange over a connection, and says whether that can be used again.
func (x *exchange) over(ctx context.Context, conn net.Conn, l Limits, deadline time.Time) (Answer, bool, error) {
	x.ctx, x.conn, x.limits, x.deadline, x.budget, x.reusable = ctx, conn, l, deadline, l.HeaderBytes, true
	x.in.Reset(conn)
	x.watch = watchOf(x.timing)
	err := x.run()
	return x.answer, err == nil && x.reusable && x.in.Buffered() == 0, err
}

func (x *exchange) run() error {
	if len(x.body) > 0 {
		return x.sendBeside()
	}
	sent := x.send()
	x.watch.lap(func(t *Timing, took time.Duration) { t.Send = took })
	if sent != nil && !isGone(sent) {
		return &Error{Send, sent}
	}
	err := x.receive()
	return x.unlessAnswered(sent, err)
}

// sendBeside sends while it receives: an endpoint may refuse a large body before it has read it, and leave.
func (x *exchange) sendBeside() error {
	done := make(chan error, 1)
	go func() { done <- x.send() }()
	err := x.receive()
	if err == nil {
		select {
		case sent := <-done:
			return x.unlessAnswered(sent, err)
		case <-time.After(lastWrite):
		}
	}
	_ = x.conn.SetDeadline(past())
	sent := <-done
	x.reusable = false
	if sent != nil && (isGone(sent) || errors.Is(err, os.ErrDeadlineExceeded)) { // not what was cut because the answer is no good
		return x.unlessAnswered(sent, err)
	}
	return err
}

// unlessAnswered gives the error of an exchange whose request was sent with one error and whose answer was read with the other. An endpoint
// that has answered need not read on.
func (x *exchange) unlessAnswered(sent, received error) error {
	if sent == nil {
		return received
	}
	x.reusable = false
	if x.answer.Status == 0 {
		return &Error{Send, sent}
	}
	return received
}

func (x *exchange) send() error {
	if len(x.body) == 0 {
		_, err := x.conn.Write(x.head)
		return err
	}
	both := net.Buffers{x.head, x.body}
	_, err := both.WriteTo(x.conn)
	return err
}

func isGone(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (x *exchange) receive() error {
	limited := x.limits.Header > 0 && time.Until(x.deadline) > x.limits.Header
	if limited {
		x.readUntil(time.Now().Add(x.limits.Header))
	}
	err := x.receiveHeader()
	x.watch.lap(func(t *Timing, took time.Duration) { t.Wait = took })
	if err != nil {
		return &Error{Wait, err}
	}
	if limited {
		x.readUntil(x.deadline)
	}
	err = x.receiveBody()
	x.watch.lap(func(t *Timing, took time.Duration) { t.Receive = took })
	if err != nil {
		return &Error{Receive, err}
	}
	return nil
}

// readUntil moves the deadline of reading, unless the exchange was cut: that set one that has passed, and must win.
func (x *exchange) readUntil(deadline time.Time) {
	_ = x.conn.SetReadDeadline(deadline)
	if x.ctx.Err() != nil {
		_ = x.conn.SetReadDeadline(past())
	}
}

// receiveHeader reads up to the body of the final answer.
func (x *exchange) receiveHeader() error {
	for {
		status, err := x.header()
		if err != nil {
			return err
		}
		if status >= 200 || status == 101 {
			x.answer.Status = status
			return nil
		}
	}
}

// receiveBody keeps the start of the body and reads a bounded part of the rest. One that goes on after that is left, and the connection with it.
func (x *exchange) receiveBody() error {
	if x.framing.close {
		x.reusable = false
	}
	switch {
	case x.answer.Status == 101: // what follows is another protocol, which was not asked for
		x.reusable = false
		return nil
	case x.answer.Status == 204 || x.answer.Status == 304:
		if x.framing.chunked || x.framing.length > 0 {
			x.reusable = false // a body that must not be there may follow
		}
		return nil
	case x.framing.chunked:
		x.chunks = httputil.NewChunkedReader(x.in)
	case x.framing.length < 0:
		x.reusable = false // its end is the end of the connection
	}
	return x.keepStart()
}

func (x *exchange) keepStart() error {
	if len(x.scratch) != x.limits.Excerpt+1 {
		x.scratch = make([]byte, x.limits.Excerpt+1)
	}
	n, err := 0, error(nil)
	for err == nil && n < len(x.scratch) {
		var more int
		more, err = x.readBody(x.scratch[n:])
		n += more
	}
	if x.answer.Truncated = n > x.limits.Excerpt; x.answer.Truncated {
		n = x.limits.Excerpt
	}
	if n > 0 {
		x.answer.Excerpt = slices.Clone(x.scratch[:n])
	}
	for drained := 0; err == nil; {
		if drained > x.limits.Drain {
			x.reusable = false
			return nil
		}
		n, err = x.readBody(x.scratch)
		drained += n
	}
	if err == io.EOF { //nolint:errorlint // readBody returns io.EOF itself
		return nil
	}
	return err
}

// readBody is an io.Reader of the body. Its io.EOF says that the body is complete.
func (x *exchange) readBody(p []byte) (int, error) {
	switch {
	case x.chunks != nil:
		n, err := x.chunks.Read(p)
		if err == io.EOF { //nolint:errorlint // an io.Reader's
			x.budget = x.limits.HeaderBytes
			if _, bad := x.fields(); bad != nil { // of the trailer
				err = bad
			}
		}
		return n, err
	case x.framing.length < 0:
		return x.in.Read(p)
	case x.framing.length == 0:
		return 0, io.EOF
	}
	n, err := x.in.Read(p[:min(int64(len(p)), x.framing.length)])
	x.framing.length -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
