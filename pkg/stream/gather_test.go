package stream

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// of gives n deliveries of as many tenants, or all of one.
func of(n int, tenants bool) []DeliveryReady {
	due := make([]DeliveryReady, n)
	one := tenant.ID(uuid.New())
	for i := range due {
		due[i] = DeliveryReady{Tenant: one, DeliveryID: uuid.New(), Attempt: 1}
		if tenants {
			due[i].Tenant = tenant.ID(uuid.New())
		}
	}
	return due
}

func TestFewOrThoseOfOneShardDoNotWait(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var g gatherer
	for _, due := range [][]DeliveryReady{of(1, false), of(gatherFrom-1, true), of(500, false), of(1, true), of(500, true)} {
		g.add(due)
		require.Zero(t, g.wait(now))
		total := 0
		for _, group := range g.take(now) {
			require.LessOrEqual(t, len(group), groupMost)
			total += len(group)
		}
		require.Equal(t, len(due), total)
	}
}

func TestManyOfManyShardsWaitForCompany(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var g gatherer
	g.add(of(100, true))
	require.Zero(t, g.wait(now), "the first do not")
	require.Greater(t, len(g.take(now)), 100/gatherEach)
	g.add(of(100, true))
	require.Equal(t, gatherFor, g.wait(now))
	g.add(of(100, true))
	require.LessOrEqual(t, g.wait(now.Add(gatherFor)), time.Duration(0))
	groups := g.take(now.Add(gatherFor))
	require.LessOrEqual(t, len(groups), subject.Shards, "the 200 of both")
	g.add(of(gatherMost, true))
	require.Zero(t, g.wait(now.Add(gatherFor)), "no more than that")
	require.Len(t, g.take(now), subject.Shards)
	g.add(of(1, true))
	require.Zero(t, g.wait(now), "the load is over")
	require.Len(t, g.take(now), 1)
}
