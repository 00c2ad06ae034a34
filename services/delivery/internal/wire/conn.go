package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// conn is a connection with one exchange at a time, or none.
type conn struct {
	net.Conn // with TLS, if the address has it
	to       address
	socket   net.Conn        // without TLS
	raw      syscall.RawConn // nil: of no kind that can be looked at

	quiet bool // what look found
	look  func(fd uintptr) bool

	// Of a connection that waits in the pool.
	since        time.Time
	older, newer *conn
}

func newConn(socket net.Conn, to address) *conn {
	c := &conn{Conn: socket, socket: socket, to: to}
	if can, ok := socket.(syscall.Conn); ok {
		c.raw, _ = can.SyscallConn()
	}
	c.look = func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		c.quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	}
	return c
}

// Close leaves without the farewell of TLS: that is a write, with five seconds of its own, to an endpoint that may read nothing.
func (c *conn) Close() error { return c.socket.Close() }

// ready says whether the connection can be used again, and if so gives it the deadline of its next exchange. It cannot if anything has arrived
// since the last one, in the socket or in what TLS has read of it: the other side has nothing to say between two exchanges but that it
// leaves. A request on such a connection would be lost, and nobody could tell whether it was read.
func (c *conn) ready(deadline time.Time) bool {
	if c.SetDeadline(deadline) != nil {
		return false
	}
	if c.raw != nil && (c.raw.Read(c.look) != nil || !c.quiet) {
		return false
	}
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return true
	}
	if secure.SetReadDeadline(past()) != nil {
		return false
	}
	n, err := secure.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && secure.SetReadDeadline(deadline) == nil
}
