package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const maxMessage = 64 << 10

// grpc asks for a service's health (grpc.health.v1).
func (l *look) grpc(ctx context.Context) error {
	spec := l.job.Spec
	socket, err := l.dial(ctx, "tcp", spec.Host, strconv.Itoa(spec.Port))
	if err != nil {
		return err
	}
	defer socket.end()
	seen := &attentive{Conn: socket}
	secured := insecure.NewCredentials()
	if !spec.Plaintext {
		conn, err := l.secure(ctx, socket, l.target(spec.Host, "h2"))
		if err != nil {
			return err
		}
		seen.Conn, secured = conn, handshaken{conn.ConnectionState()}
	}
	client, err := l.grpcClient(seen, secured)
	if err != nil {
		return ownFault{"The prober could not make a gRPC client.", err}
	}
	err = l.askHealth(ctx, client, seen)
	socket.end() // first: the farewell of HTTP/2 is a write
	_ = client.Close()
	return err
}

// grpcClient makes a client that uses one connection, and has no other when that is gone.
func (l *look) grpcClient(conn net.Conn, secured credentials.TransportCredentials) (*grpc.ClientConn, error) {
	var once sync.Once
	dial := func(context.Context, string) (net.Conn, error) {
		given, err := net.Conn(nil), errors.New("the connection is gone")
		once.Do(func() { given, err = conn, nil })
		return given, err
	}
	return grpc.NewClient("passthrough:///"+net.JoinHostPort(l.job.Spec.Host, strconv.Itoa(l.job.Spec.Port)),
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(secured), grpc.WithUserAgent(l.p.cfg.UserAgent),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(), grpc.WithNoProxy(),
		grpc.WithMaxHeaderListSize(maxHeaderBytes), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
}

func (l *look) askHealth(ctx context.Context, client *grpc.ClientConn, seen *attentive) error {
	l.clock.enter(processing)
	var header, trailer metadata.MD
	answer, err := grpc_health_v1.NewHealthClient(client).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: l.job.Spec.Service}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil && len(header)+len(trailer) == 0 { // the library's own status: the target sent none
		return seen.cause(err)
	}
	l.saw.status = int(status.Code(err))
	if err != nil {
		return &unmet{check.CauseStatus, fmt.Sprintf("The gRPC status is %s.", status.Code(err)), codes.OK.String(), cut(status.Convert(err).Message())}
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return &unmet{check.CauseStatus, fmt.Sprintf("The service is %s.", answer.GetStatus()), "SERVING", answer.GetStatus().String()}
	}
	return nil
}

// attentive remembers on what a connection ended: grpc-go makes text of it.
type attentive struct {
	net.Conn
	mu  sync.Mutex
	err error
}

// Read implements net.Conn.
func (c *attentive) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(err)
	return n, err
}

// Write implements net.Conn.
func (c *attentive) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

// note keeps the first error. A connection that we closed ourselves tells nothing.
func (c *attentive) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !errors.Is(err, net.ErrClosed) {
		c.err = err
	}
}

// cause gives why there was no answer.
func (c *attentive) cause(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return err
}

// handshaken are the credentials of a connection whose handshake was made before.
type handshaken struct{ state tls.ConnectionState }

var _ credentials.TransportCredentials = handshaken{}

// ClientHandshake implements credentials.TransportCredentials.
func (h handshaken) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, credentials.TLSInfo{State: h.state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (handshaken) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("this is a client")
}

// Info implements credentials.TransportCredentials.
func (handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// OverrideServerName implements credentials.TransportCredentials.
func (handshaken) OverrideServerName(string) error { return nil }
