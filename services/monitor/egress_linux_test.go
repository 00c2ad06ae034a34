package monitor_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// elsewhere is a network behind a link that can be cut: a namespace of the kernel's.
type elsewhere struct {
	t          *testing.T
	name, link string
	addr       string // of the far side
}

// newElsewhere makes one. It takes root, as in CI.
func newElsewhere(t *testing.T) *elsewhere {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	n := &elsewhere{t: t, name: fmt.Sprintf("bp%d", os.Getpid()), link: fmt.Sprintf("bpv%d", os.Getpid()), addr: "198.18.93.2"} // RFC 2544: for tests of networks
	n.ip("netns", "add", n.name)
	t.Cleanup(func() { n.ip("netns", "del", n.name) })
	n.ip("link", "add", n.link, "type", "veth", "peer", "name", "eth0", "netns", n.name)
	t.Cleanup(func() { n.ip("link", "del", n.link) }) // with the namespace it would go a moment later
	n.ip("addr", "add", "198.18.93.1/30", "dev", n.link)
	n.ip("link", "set", n.link, "up")
	n.ip("-n", n.name, "addr", "add", n.addr+"/30", "dev", "eth0")
	n.ip("-n", n.name, "link", "set", "eth0", "up")
	return n
}

func (n *elsewhere) ip(args ...string) {
	n.t.Helper()
	out, err := exec.CommandContext(n.t.Context(), "ip", args...).CombinedOutput()
	if err != nil && n.t.Context().Err() != nil { // the cleanup comes after the test's context
		out, err = exec.Command("ip", args...).CombinedOutput()
	}
	require.NoError(n.t, err, "ip %v: %s", args, out)
}

// listen opens a port on the far side: a socket stays in the namespace in which it was made.
func (n *elsewhere) listen(port int) net.Listener {
	n.t.Helper()
	type result struct {
		ln  net.Listener
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open("/run/netns/" + n.name)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		var ln net.Listener
		if err == nil {
			ln, err = (&net.ListenConfig{}).Listen(n.t.Context(), "tcp", fmt.Sprintf("%s:%d", n.addr, port))
		}
		made <- result{ln, err}
	}()
	r := <-made
	require.NoError(n.t, r.err)
	n.t.Cleanup(func() { _ = r.ln.Close() })
	return r.ln
}

// When the prober's network is cut, everything behind it cannot be reached, and nothing of it goes down. A target that really fails does.
func TestAProberWithoutANetworkAccusesNobody(t *testing.T) {
	t.Parallel()
	far := newElsewhere(t)
	web := far.listen(8080)
	go func() {
		_ = http.Serve(web, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // ends with the listener
	}()
	canary := far.listen(9090)
	go func() {
		for {
			conn, err := canary.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	b := setup(t, "BEACONPOST_MONITOR_NETWORK_ALLOW=198.18.93.0/30", "BEACONPOST_MONITOR_CANARIES="+far.addr+":9090")
	good := b.create(map[string]any{"name": "good", "url": "http://" + far.addr + ":8080/", "failure_threshold": 1})
	bad := b.create(map[string]any{"name": "bad", "url": "http://" + far.addr + ":8081/", "failure_threshold": 1}) // nobody listens there
	const state = `SELECT status FROM monitor_states WHERE monitor_id = $1`
	b.eventually("up", state, good)
	b.eventually("down", state, bad)

	far.ip("-n", far.name, "link", "set", "eth0", "down")
	cut := time.Now()
	b.eventually("not_checked egress", `SELECT DISTINCT concat_ws(' ', outcome, cause) FROM monitor_checks WHERE monitor_id = $1 AND started_at > $2`, good, cut)
	time.Sleep(12 * time.Second)
	require.Equal(t, "not_checked egress", b.Query(`SELECT DISTINCT concat_ws(' ', outcome, cause) FROM monitor_checks WHERE monitor_id = $1 AND started_at > $2`, good, cut))
	require.Equal(t, "up", b.Query(state, good))
	require.Equal(t, "1", b.Query(`SELECT count(*)::text FROM incidents`), "that of the bad one")

	b.eventually("unknown", state, good) // in the end nobody has said anything for too long
	far.ip("-n", far.name, "link", "set", "eth0", "up")
	b.eventually("up", state, good)
	require.Equal(t, "1", b.Query(`SELECT count(*)::text FROM incidents`))
}
