package streamtest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServersAreApart(t *testing.T) {
	t.Parallel()
	one, two := streamtest.New(t), streamtest.New(t)
	require.NotEqual(t, one.URL(), two.URL())

	hearing, listening := streamtest.Connect(t, one), streamtest.Connect(t, two)
	heard, err := hearing.SubscribeSync("news")
	require.NoError(t, err)
	other, err := listening.SubscribeSync("news")
	require.NoError(t, err)
	require.NoError(t, errors.Join(hearing.Flush(), listening.Flush()), "the servers know of the subscriptions")

	remote, err := nats.Connect(one.URL())
	require.NoError(t, err)
	defer remote.Close()
	require.NoError(t, remote.Publish("news", []byte("over tcp")))

	msg, err := heard.NextMsg(5 * time.Second)
	require.NoError(t, err)
	require.Equal(t, "over tcp", string(msg.Data))
	pending, _, err := other.Pending()
	require.NoError(t, err)
	require.Zero(t, pending)
}
