package probe

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// skipWithoutICMP tries both ways in which a kernel may permit it.
func skipWithoutICMP(t *testing.T, p *Prober) {
	t.Helper()
	l := &look{p: p, job: job(check.Spec{Kind: check.ICMP, Host: "127.0.0.1"}), started: time.Now()}
	_, plain := l.pingAs(t.Context(), netip.MustParseAddr("127.0.0.1"), false)
	_, raw := l.pingAs(t.Context(), netip.MustParseAddr("127.0.0.1"), true)
	if errors.Is(plain, os.ErrPermission) && errors.Is(raw, os.ErrPermission) {
		t.Skip("the kernel permits neither unprivileged ICMP sockets (net.ipv4.ping_group_range) nor raw ones (CAP_NET_RAW)")
	}
}

func TestICMP(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	n.add(t, "here.test. A 127.0.0.1")
	p := newProber(t, n.used)
	skipWithoutICMP(t, p)
	for _, host := range []string{"127.0.0.1", "::1", "here.test"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			spec := check.Spec{Kind: check.ICMP, Host: host, Packets: 4, Assert: "loss_percent == 0"}
			require.NoError(t, spec.Check())
			r := checkIt(t, p, job(spec))
			require.Equal(t, check.Up, r.Outcome, "%+v", r)
			require.Positive(t, r.Phases.Processing)
			require.NotEmpty(t, r.IP)
		})
	}
	require.Equal(t, check.CauseDNS, checkIt(t, p, job(check.Spec{Kind: check.ICMP, Host: "none.test"})).Cause)
}

func TestICMPWithoutAnswer(t *testing.T) {
	t.Parallel()
	p := newProber(t, func(c *Config) {
		c.Network = netguard.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	})
	skipWithoutICMP(t, p)
	j := job(check.Spec{Kind: check.ICMP, Host: "192.0.2.77"}) // of documentation: nobody is there
	j.Timeout = short
	r := checkIt(t, p, j)
	if r.Outcome == check.NotChecked {
		t.Skip("this machine has no way out: " + r.Detail)
	}
	require.Equal(t, check.Down, r.Outcome)
	require.Equal(t, check.CauseTimeout, r.Cause)
}
