package service

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/stream/natsembed"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// What could not be told is told when the broker is there, all of it or that it was too much.
func TestNewsWaitForTheBroker(t *testing.T) {
	t.Parallel()
	server, err := natsembed.Start(natsembed.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Shutdown(context.Background())) }()
	connect := func() *nats.Conn {
		nc, err := nats.Connect(server.URL())
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	other, mine := connect(), connect()
	heard, err := other.SubscribeSync(subject.ForgetAPIKey)
	require.NoError(t, err)
	require.NoError(t, other.Flush())
	next := func() string {
		m, err := heard.NextMsg(20 * time.Second)
		require.NoError(t, err)
		return string(m.Data)
	}

	n := newKeyNews(zerolog.Nop())
	n.keys = auth.NewAPIKeyVerifier(nil, auth.CacheConfig{Informed: n.heard})
	n.tell("a")
	n.tell("b")
	require.False(t, n.heard())
	require.NoError(t, n.listen(mine))
	n.there()
	require.True(t, n.heard())
	require.Equal(t, []string{"a", "b"}, []string{next(), next()})
	n.tell("c")
	require.Equal(t, "c", next())

	n.lost()
	require.False(t, n.heard())
	n.nc = nil
	for i := range 3 * untoldMost {
		n.tell(strconv.Itoa(i))
	}
	require.LessOrEqual(t, len(n.untold), untoldMost+1)
	n.nc = mine
	n.there()
	require.Equal(t, everyKey, next())
	n.tell("d")
	require.Equal(t, "d", next(), "once")
}
