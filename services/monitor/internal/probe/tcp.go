package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	maxHeard   = 64 << 10  // bytes that are looked at for what is expected
	maxScanned = 256 << 20 // steps of matching on a target that says it byte by byte
)

// tcp connects, and talks if there is something to say or to hear.
func (l *look) tcp(ctx context.Context) error {
	spec := l.job.Spec
	socket, err := l.dial(ctx, "tcp", spec.Host, strconv.Itoa(spec.Port))
	if err != nil {
		return err
	}
	defer socket.end()
	if err := l.startTLS(socket); err != nil {
		return err
	}
	var conn net.Conn = socket
	if spec.StartTLS != "" || spec.TLS != nil {
		if conn, err = l.secure(ctx, socket, l.target(spec.Host)); err != nil {
			return err
		}
	}
	return l.talk(conn)
}

func (l *look) talk(conn net.Conn) error {
	if l.job.Spec.Send != "" {
		l.clock.enter(sending)
		if _, err := io.WriteString(conn, l.job.Spec.Send); err != nil {
			return err
		}
	}
	if l.plan.expect == nil {
		return nil
	}
	l.clock.enter(processing)
	return l.hear(conn)
}

// hear reads until what came matches. It is looked at whenever something comes, as long as that is not too often: then when it has doubled.
func (l *look) hear(conn net.Conn) error {
	buffer := make([]byte, 4096)
	scanned, next := 0, 1
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			l.clock.pass(processing, transferring)
		}
		l.saw.body = append(l.saw.body, buffer[:min(n, maxHeard-len(l.saw.body))]...)
		over := err != nil || len(l.saw.body) == maxHeard
		if over || len(l.saw.body) >= next {
			if l.plan.expect.Match(l.saw.body) {
				return nil
			}
			next = len(l.saw.body) + 1
			if scanned += len(l.saw.body) * l.plan.expect.Size; scanned > maxScanned {
				next = 2 * len(l.saw.body)
			}
		}
		if over {
			return l.unheard(err)
		}
	}
}

// unheard says why it ended without a match: what came is wrong if the target is done, else the connection is.
func (l *look) unheard(err error) error {
	if err != nil && (!errors.Is(err, io.EOF) || len(l.saw.body) == 0) {
		return err
	}
	return &unmet{check.CauseBody, "What came is not as expected.", "matching " + l.job.Spec.Expect, cut(string(l.saw.body[:min(len(l.saw.body), keptValue)]))}
}
