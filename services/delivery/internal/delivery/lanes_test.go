package delivery

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// crowd is lanes with endpoints by number; every tenth has a tenant of its own.
type crowd struct {
	t     *testing.T
	lanes *lanes
	now   time.Time
	ids   map[int]Ref
	rate  Rate
}

func newCrowd(t *testing.T, slots int) *crowd {
	return &crowd{t: t, lanes: newLanes(slots), now: time.Now(), ids: map[int]Ref{}}
}

func (c *crowd) work(endpoint int) *work {
	ref, known := c.ids[endpoint]
	if !known {
		ref = Ref{tenant.ID(uuid.New()), uuid.New()}
		if base, ok := c.ids[endpoint/10*10]; ok {
			ref.Tenant = base.Tenant
		}
		c.ids[endpoint] = ref
	}
	return &work{Finished: Finished{Job: &Job{Ref: Ref{ref.Tenant, uuid.New()}, Target: &Target{EndpointID: ref.ID, Rate: c.rate}}}}
}

func (c *crowd) enter(endpoint int) (*work, place) {
	w := c.work(endpoint)
	return w, c.lanes.enter(w, c.now)
}

func (c *crowd) leave(w *work, status int, class ErrorClass, took time.Duration) []*work {
	return c.lanes.leave(w, &Attempt{StatusCode: status, Class: class, StartedAt: c.now.Add(-took), Duration: took}, c.now)
}

// balanced demands that nothing is counted that does not run.
func (c *crowd) balanced() {
	c.t.Helper()
	require.Zero(c.t, c.lanes.running)
	require.Empty(c.t, c.lanes.tenants)
	for _, one := range c.lanes.of {
		require.Zero(c.t, one.running)
		require.Empty(c.t, one.waiting)
	}
}

func TestALaneGrowsWithSuccessAndShrinksWithTimeouts(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	var running []*work
	fill := func() (n int) {
		for {
			w, p := c.enter(0)
			if p != runs {
				return n
			}
			running, n = append(running, w), n+1
		}
	}
	require.Equal(t, laneFirst, fill())
	limit := func() int { return int(c.lanes.of[c.ids[0]].limit) }
	for limit() < laneMost {
		before := limit()
		for _, w := range running {
			running = running[1:]
			running = append(running, c.leave(w, 200, "", time.Millisecond)...)
			fill()
		}
		require.Greater(t, limit(), before)
		c.now = c.now.Add(time.Second)
		c.lanes.overdue(c.now) // what waits is of no interest here
	}
	require.LessOrEqual(t, len(running), laneMost)
	// All that were under way together time out: that is one reason to halve, not two hundred.
	for _, w := range running {
		c.leave(w, 0, ClassHeaderTimeout, 15*time.Second)
	}
	require.Equal(t, laneMost/2, limit())
	for range 20 {
		c.now = c.now.Add(time.Minute)
		w, _ := c.enter(0)
		c.leave(w, 429, "", time.Millisecond)
	}
	require.Equal(t, 1, limit(), "never none")
	for range 3 {
		c.now = c.now.Add(time.Minute)
		w, p := c.enter(0)
		require.Equal(t, runs, p)
		c.leave(w, 200, "", time.Millisecond)
	}
	require.Equal(t, 2, limit(), "slowly now")
	c.lanes.close()
	c.balanced()
}

func TestAnEndpointThatAnswersSlowerThanUsualGetsLess(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	one := func(took time.Duration, n int) int {
		for range n {
			c.now = c.now.Add(10 * time.Millisecond)
			w, p := c.enter(0)
			require.Equal(t, runs, p)
			c.leave(w, 200, "", took)
		}
		return int(c.lanes.of[c.ids[0]].limit)
	}
	require.Equal(t, laneMost, one(20*time.Millisecond, 300))
	require.Equal(t, laneMost, one(35*time.Millisecond, 100), "not twice as slow")
	least := one(200*time.Millisecond, 60)
	require.GreaterOrEqual(t, least, laneFloor, "by latency alone")
	require.Less(t, least, laneMost/2)
	c.balanced()
}

// However many endpoints hang, one that answers finds a place, and no tenant takes everything.
func TestEndpointsThatHangLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{16, 512, 4096} {
		c := newCrowd(t, slots)
		good, p := c.enter(-10)
		require.Equal(t, runs, p)
		c.leave(good, 200, "", time.Millisecond)
		for n := range 20 * slots {
			c.enter(10 * (n % (2 * slots))) // each of another tenant
		}
		require.LessOrEqual(t, c.lanes.running, slots-slots/reserveShare, "%d", slots)
		for range 3 {
			good, p = c.enter(-10)
			require.Equal(t, runs, p, "%d", slots)
			c.leave(good, 200, "", time.Millisecond)
		}

		c = newCrowd(t, slots)
		for n := range 20 * slots {
			c.enter(n % 10) // all of one tenant
		}
		require.LessOrEqual(t, c.lanes.running, slots/tenantShare)
		_, p = c.enter(1000)
		require.Equal(t, runs, p, "of another tenant")
	}
}

// One that worked well and then hangs takes a part of what is free, never all of it.
func TestManyThatWorkedAndThenHang(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	for e := range 1000 {
		for range 300 {
			w, p := c.enter(10 * e)
			require.Equal(t, runs, p)
			c.leave(w, 200, "", time.Millisecond)
		}
	}
	for range 50 {
		for e := range 1000 {
			c.enter(10 * e)
		}
	}
	w, p := c.enter(99999)
	require.Equal(t, waits, p, "the last eighth is for those that have shown that they answer")
	require.NotNil(t, w)
	require.Less(t, c.lanes.running, 4096)
}

func TestWhatWaitsStartsInItsOrderWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	var running, waiting []*work
	for range laneFirst + 20 {
		w, p := c.enter(0)
		if p == runs {
			running = append(running, w)
		} else {
			require.Equal(t, waits, p)
			waiting = append(waiting, w)
		}
	}
	require.Len(t, running, laneFirst)
	var started []*work
	for len(running) > 0 {
		next := c.leave(running[0], 200, "", time.Millisecond)
		started, running = append(started, next...), append(running[1:], next...)
	}
	require.Equal(t, waiting, started)
	c.balanced()
}

// Nothing is left waiting for ever because it waited behind others that cannot start.
func TestALaneGoesOnWhileOthersAreStuck(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	for e := range 200 {
		for range laneFirst + 3 {
			c.enter(10 * (e + 1))
		}
	}
	var running []*work
	for range 50 {
		if w, p := c.enter(0); p == runs {
			running = append(running, w)
		}
	}
	for done := 0; done < 50; done++ {
		require.NotEmpty(t, running, "%d are done", done)
		next := c.leave(running[0], 200, "", time.Millisecond)
		running = append(running[1:], next...)
	}
}

func TestOverflow(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	for range laneFirst {
		_, p := c.enter(0)
		require.Equal(t, runs, p)
	}
	for range queueMost {
		_, p := c.enter(0)
		require.Equal(t, waits, p)
	}
	_, p := c.enter(0)
	require.Equal(t, overflows, p, "nothing is known of it, and enough waits")
	require.Empty(t, c.lanes.overdue(c.now.Add(lanePatience-1)))
	require.Len(t, c.lanes.overdue(c.now.Add(lanePatience)), queueMost)
	_, p = c.enter(0)
	require.Equal(t, waits, p)

	// Of one that answers more may wait, but not behind others when it is late already.
	w, _ := c.enter(10)
	c.leave(w, 200, "", time.Millisecond)
	for range laneFirst + 1 + 3*queueMost {
		_, p = c.enter(10)
		require.NotEqual(t, overflows, p)
	}
	late := c.work(10)
	late.Job.Late = latePatience
	require.Equal(t, overflows, c.lanes.enter(late, c.now))
}

func TestIdleLanesAreForgotten(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 64)
	w, _ := c.enter(0)
	hanging, _ := c.enter(10)
	c.leave(w, 200, "", time.Millisecond)
	c.lanes.overdue(c.now.Add(laneForget - 1))
	require.Len(t, c.lanes.of, 2)
	c.lanes.overdue(c.now.Add(2 * laneForget))
	require.Len(t, c.lanes.of, 1)
	c.leave(hanging, 200, "", time.Millisecond)
	c.balanced()
}

func TestRoom(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	require.Equal(t, laneFirst, c.lanes.room(Ref{}, c.now), "of one that nothing is known of")
	w, _ := c.enter(0)
	ref := c.ids[0]
	require.Equal(t, laneFirst-1, c.lanes.room(ref, c.now))
	c.leave(w, 200, "", time.Millisecond)
	require.Equal(t, 2*(laneFirst+1), c.lanes.room(ref, c.now), "as many again for when these are over")
	for range 30 {
		c.enter(0)
	}
	require.Zero(t, c.lanes.room(ref, c.now))
}

func TestARateIsKeptByTokens(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4096)
	c.rate = Rate{PerSecond: 10, Burst: 2}
	for range 10 {
		_, p := c.enter(0)
		require.Equal(t, waits, p, "there is no token yet")
	}
	wants := c.lanes.wants(c.now)
	require.Len(t, wants, 1)
	require.Equal(t, laneFirst, wants[0].N, "no more than may run")
	started := c.lanes.grant(wants, []Grant{{N: 2, Rest: 0.5}}, c.now)
	require.Len(t, started, 2)
	require.Empty(t, c.lanes.wants(c.now.Add(49*time.Millisecond)), "the next token is half a token away")
	require.Len(t, c.lanes.wants(c.now.Add(50*time.Millisecond)), 1)
	for _, w := range started {
		require.Empty(t, c.leave(w, 200, "", time.Millisecond), "an attempt that ends is no token")
	}
	require.Zero(t, c.lanes.room(c.ids[0], c.now))
}
