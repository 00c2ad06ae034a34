package wire

import (
	"net"
	"syscall"
	"time"
)

// conn is a connection with one exchange at a time, or none.
type conn struct {
	net.Conn // with TLS, if the address has it
	to       address
	raw      syscall.RawConn // nil: of no kind that can be looked at

	quiet bool // what look found
	look  func(fd uintptr) bool

	// Of a connection that waits in the pool.
	since        time.Time
	older, newer *conn
}

func newConn(raw net.Conn, to address) *conn {
	c := &conn{Conn: raw, to: to}
	if can, ok := raw.(syscall.Conn); ok {
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

// alive says whether nothing has arrived since the last exchange. The other side has nothing to say between two exchanges but that it
// leaves: a request on such a connection would be lost, and nobody could tell whether it was read.
func (c *conn) alive() bool {
	if c.raw == nil {
		return true
	}
	return c.raw.Read(c.look) == nil && c.quiet
}
