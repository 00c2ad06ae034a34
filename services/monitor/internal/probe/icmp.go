package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	probing "github.com/prometheus-community/pro-bing"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	defaultPackets = 3
	packetInterval = 200 * time.Millisecond
)

// icmp sends echo requests. The processing phase is their average round trip.
func (l *look) icmp(ctx context.Context) error {
	addrs, err := l.resolve(ctx, l.job.Spec.Host)
	if err != nil {
		return err
	}
	addr, err := l.firstPermitted(addrs)
	if err != nil {
		return err
	}
	l.saw.ip = addr.String()
	seen, err := l.ping(ctx, addr)
	if err != nil {
		return err
	}
	l.clock.spend(processing, seen.AvgRtt)
	return l.checkLoss(seen)
}

func (l *look) firstPermitted(addrs []netip.Addr) (netip.Addr, error) {
	var first error
	for _, addr := range addrs {
		err := l.p.checkIP(addr)
		if err == nil {
			return addr, nil
		}
		first = worse(first, err)
	}
	return netip.Addr{}, first
}

// ping tries without a privilege first: Linux grants that by net.ipv4.ping_group_range, and raw sockets by a capability.
func (l *look) ping(ctx context.Context, addr netip.Addr) (*probing.Statistics, error) {
	seen, err := l.pingAs(ctx, addr, false)
	if errors.Is(err, os.ErrPermission) {
		seen, err = l.pingAs(ctx, addr, true)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, ownFault{"The prober may not send ICMP packets.", err}
	}
	return seen, err
}

func (l *look) pingAs(ctx context.Context, addr netip.Addr, privileged bool) (*probing.Statistics, error) {
	pinger := probing.New("")
	pinger.SetLogger(probing.NoopLogger{})
	pinger.SetIPAddr(&net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()})
	pinger.SetPrivileged(privileged)
	pinger.RecordRtts, pinger.RecordTTLs = false, false
	pinger.Count = l.job.Spec.Packets
	if pinger.Count == 0 {
		pinger.Count = defaultPackets
	}
	pinger.Timeout = time.Until(l.started.Add(l.job.Timeout)) * 9 / 10 // ends before the check does: a packet lost is an answer, not a timeout
	pinger.Interval = min(packetInterval, pinger.Timeout/time.Duration(2*pinger.Count))
	var unsent error
	pinger.OnSendError = func(_ *probing.Packet, err error) { unsent = err }
	err := pinger.RunWithContext(ctx)
	seen := pinger.Statistics()
	if err == nil && seen.PacketsSent == 0 {
		err = unsent
	}
	return seen, err
}

func (l *look) checkLoss(seen *probing.Statistics) error {
	l.saw.loss = int(seen.PacketLoss + 0.5)
	if seen.PacketsRecv == 0 {
		return &unmet{check.CauseTimeout, "No packet was answered.", "an answer", fmt.Sprintf("none to %d packets", seen.PacketsSent)}
	}
	if l.saw.loss > l.job.Spec.MaxLoss {
		return &unmet{
			check.CauseBody, fmt.Sprintf("%d %% of the packets were not answered.", l.saw.loss),
			fmt.Sprintf("at most %d %% lost", l.job.Spec.MaxLoss), fmt.Sprintf("%d of %d answered", seen.PacketsRecv, seen.PacketsSent),
		}
	}
	return nil
}
