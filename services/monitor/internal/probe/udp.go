package probe

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// udp sends a datagram and waits for one. It is sent again, as whoever speaks by UDP has to: a lost packet is not the target's fault.
func (l *look) udp(ctx context.Context) error {
	spec := l.job.Spec
	socket, err := l.dial(ctx, "udp", spec.Host, strconv.Itoa(spec.Port))
	if err != nil {
		return err
	}
	defer socket.end()
	l.clock.enter(processing)
	buffer := make([]byte, maxHeard)
	for range udpTries {
		if _, err = io.WriteString(socket, spec.Send); err != nil {
			return err
		}
		if err := socket.SetReadDeadline(time.Now().Add(l.job.Timeout / udpTries)); err != nil {
			return err
		}
		var n int
		if n, err = socket.Read(buffer); err == nil {
			l.saw.body = buffer[:n]
			l.clock.enter(idle)
			return l.checkDatagram()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (l *look) checkDatagram() error {
	if l.plan.expect == nil || l.plan.expect.Match(l.saw.body) {
		return nil
	}
	return &unmet{check.CauseBody, "What came is not as expected.", "matching " + l.job.Spec.Expect, cut(string(l.saw.body[:min(len(l.saw.body), keptValue)]))}
}
