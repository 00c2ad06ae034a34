package probe

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// datagrams answers each datagram with what reply gives; nil: it does not.
func datagrams(t testing.TB, reply func(n int, asked string) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 2048)
		for n := 0; ; n++ {
			size, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := reply(n, string(buffer[:size])); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func TestUDP(t *testing.T) {
	t.Parallel()
	echo := func(_ int, asked string) []byte { return []byte("re: " + asked) }
	p := newProber(t)
	for name, tt := range map[string]struct {
		reply  func(int, string) []byte
		expect string
		cause  check.Cause
	}{
		"answers":             {echo, "", ""},
		"answers as expected": {echo, "^re: PING$", ""},
		"an empty answer":     {func(int, string) []byte { return []byte{} }, "", ""},
		"something else":      {echo, "^PONG", check.CauseBody},
		"nothing":             {func(int, string) []byte { return nil }, "", check.CauseTimeout},
		"the first is lost": {func(n int, asked string) []byte {
			if n == 0 {
				return nil
			}
			return []byte(asked)
		}, "^PING$", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := at(t, check.UDP, datagrams(t, tt.reply))
			spec.Send, spec.Expect = "PING", tt.expect
			require.NoError(t, spec.Check())
			j := job(spec)
			j.Timeout = 3 * short
			r := checkIt(t, p, j)
			require.Equal(t, tt.cause, r.Cause, "%+v", r)
			require.Positive(t, r.Phases.Processing)
			if tt.cause == check.CauseBody {
				require.Equal(t, "re: PING", r.Evidence.Got)
			}
		})
	}
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	spec := at(t, check.UDP, closed.LocalAddr().String())
	spec.Send = "PING"
	require.NoError(t, closed.Close())
	began := time.Now()
	require.Equal(t, check.CauseConnect, checkIt(t, p, job(spec)).Cause)
	require.Less(t, time.Since(began), 15*time.Second, "it is refused, not waited for")
	requireBlocked(t, checkIt(t, newProber(t, func(cfg *Config) { cfg.Network.AllowLoopback = false }), job(spec)))
}
