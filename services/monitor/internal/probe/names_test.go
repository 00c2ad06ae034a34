package probe

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// names is a DNS server over UDP, TCP and, with a certificate, TLS.
type names struct {
	udp, tcp, dot string // addresses

	mu      sync.Mutex
	records map[string][]dns.RR // by lower-case name
}

func newNames(t testing.TB, certs ...tls.Certificate) *names {
	t.Helper()
	n := &names{records: make(map[string][]dns.RR)}
	packets, stream := onePort(t)
	n.udp, n.tcp = packets.LocalAddr().String(), stream.Addr().String()
	n.serve(t, &dns.Server{PacketConn: packets, Handler: n})
	n.serve(t, &dns.Server{Listener: stream, Handler: n})
	if len(certs) > 0 {
		secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certs})
		require.NoError(t, err)
		n.dot = secure.Addr().String()
		n.serve(t, &dns.Server{Listener: secure, Handler: n})
	}
	return n
}

// onePort listens by UDP and TCP at the same port, because truncated answers are asked for again there. Somebody may have a port that is free for the other.
func onePort(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	var refused error
	for range 50 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		stream, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, stream
		}
		refused = err
		require.NoError(t, packets.Close())
	}
	require.NoError(t, refused)
	return nil, nil
}

func (n *names) serve(t testing.TB, server *dns.Server) {
	t.Helper()
	started, ended := make(chan struct{}), make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(ended)
		_ = server.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-ended
	})
}

// add adds records in the form of a zone file.
func (n *names) add(t testing.TB, records ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, text := range records {
		record, err := dns.NewRR(text)
		require.NoError(t, err)
		name := strings.ToLower(record.Header().Name)
		n.records[name] = append(n.records[name], record)
	}
}

// ServeDNS implements dns.Handler. The name refused.test is refused, broken.test fails, and silent.test gets no answer.
func (n *names) ServeDNS(w dns.ResponseWriter, asked *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	reply := new(dns.Msg).SetReply(asked)
	question := asked.Question[0]
	name := strings.ToLower(question.Name)
	records, known := n.records[name]
	switch name {
	case "refused.test.":
		reply.Rcode = dns.RcodeRefused
	case "broken.test.":
		reply.Rcode = dns.RcodeServerFailure
	case "silent.test.":
		return
	default:
		if !known {
			reply.Rcode = dns.RcodeNameError
		}
	}
	for _, record := range records {
		if record.Header().Rrtype == question.Qtype {
			reply.Answer = append(reply.Answer, record)
		}
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		reply.Truncate(512)
	}
	_ = w.WriteMsg(reply)
}

// resolver asks n and nobody else.
func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, n.udp)
	}}
}

func (n *names) used(cfg *Config) { cfg.Resolver = n.resolver() }
