// Package streamtest gives each test its own broker.
//
// It owns a NATS server with JetStream per call, or a cluster of them, on directories and ports that vanish with the test. Tests that
// restart a broker or wipe its directory use natsembed directly.
package streamtest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream/natsembed"
)

const stopTimeout = 10 * time.Second

// New runs a server until the test ends. It serves the test's process (Connect) and, for child processes and code
// that takes a URL, a random loopback port (URL).
func New(t testing.TB) *natsembed.Server {
	t.Helper()
	srv, err := natsembed.Start(natsembed.Config{
		StoreDir: t.TempDir(),
		Listen:   "127.0.0.1:0",
		Logger:   zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
	})
	return srv
}

// Connect opens an in-process connection that is closed when the test ends.
func Connect(t testing.TB, srv *natsembed.Server) *nats.Conn {
	t.Helper()
	nc, err := srv.Connect()
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}
