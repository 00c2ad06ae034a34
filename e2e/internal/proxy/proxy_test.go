package proxy

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is sent arrives whole and in order, later while there is a delay, and at once when there is none any more.
func TestBytesAreLate(t *testing.T) {
	t.Parallel()
	server, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	go func() { // echoes until the connection ends
		conn, err := server.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	p, err := Start(t.Context(), "127.0.0.1", func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Addr().String())
	})
	require.NoError(t, err)
	defer p.Close()
	conn, err := net.Dial("tcp", p.Addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	echo := func(text string) time.Duration {
		began := time.Now()
		_, err := conn.Write([]byte(text))
		require.NoError(t, err)
		got := make([]byte, len(text))
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
		return time.Since(began)
	}
	echo("at once")
	const by = 200 * time.Millisecond
	p.Set(by)
	require.GreaterOrEqual(t, echo("late"), 2*by, "there and back")
	p.Set(0)
	echo("at once again")
}
