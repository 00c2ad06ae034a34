package probe

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func healthServer(t testing.TB, register bool, options ...grpc.ServerOption) string {
	t.Helper()
	server := grpc.NewServer(options...)
	if register {
		state := health.NewServer()
		state.SetServingStatus("good", grpc_health_v1.HealthCheckResponse_SERVING)
		state.SetServingStatus("bad", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		grpc_health_v1.RegisterHealthServer(server, state)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() { server.Stop(); <-ended })
	return ln.Addr().String()
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newProber(t, ca.trusted)
	plaintext := healthServer(t, true)
	secure := healthServer(t, true, grpc.Creds(credentials.NewTLS(tlsOf(ca.valid(t)))))
	for service, cause := range map[string]check.Cause{"": "", "good": "", "bad": check.CauseStatus, "unknown": check.CauseStatus} {
		for _, plain := range []bool{true, false} {
			address := map[bool]string{true: plaintext, false: secure}[plain]
			spec := at(t, check.GRPC, address)
			spec.Service, spec.Plaintext = service, plain
			require.NoError(t, spec.Check())
			r := checkIt(t, p, job(spec))
			require.Equal(t, cause, r.Cause, "%q %v %+v %+v", service, plain, r, r.Evidence)
			require.Equal(t, !plain, r.Phases.TLS > 0)
			require.Equal(t, map[bool]int{true: 5}[service == "unknown"], r.Status)
		}
	}
}

func TestGRPCGoneWrong(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newProber(t, ca.trusted)
	secure := healthServer(t, true, grpc.Creds(credentials.NewTLS(tlsOf(ca.valid(t)))))
	for name, tt := range map[string]struct {
		address string
		plain   bool
		causes  []check.Cause
	}{
		"no health service": {healthServer(t, false), true, []check.Cause{check.CauseStatus}},
		"refused":           {closedPort(t), true, []check.Cause{check.CauseConnect}},
		"plain to TLS":      {secure, true, []check.Cause{check.CauseReset, check.CauseProtocol}},
		"TLS to plain":      {healthServer(t, true), false, []check.Cause{check.CauseTLS, check.CauseReset}},
		"closes":            {raw(t, func(net.Conn, <-chan struct{}) {}), true, []check.Cause{check.CauseReset}},
		"HTTP/1":            {parse(t, serve(t, nil)).Host, true, []check.Cause{check.CauseProtocol, check.CauseReset}},
		"nonsense":          {raw(t, answerAndStay("SSH-2.0-OpenSSH\r\nand much more of the same, and more")), true, []check.Cause{check.CauseProtocol, check.CauseReset}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := at(t, check.GRPC, tt.address)
			spec.Plaintext = tt.plain
			require.Contains(t, tt.causes, checkIt(t, p, job(spec)).Cause)
		})
	}
}
