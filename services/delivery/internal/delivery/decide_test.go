package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Every result an attempt can have, while attempts are left, with the last one, and beyond it (a retry by hand).
func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	policy := backoff.Policy{Schedule: []time.Duration{5 * time.Second, time.Minute}, Jitter: backoff.NoJitter} // three attempts
	due := map[int]time.Time{
		1: time.Date(2026, 11, 23, 11, 0, 5, 123456000, time.UTC),
		2: time.Date(2026, 11, 23, 11, 1, 0, 123456000, time.UTC),
	}
	type result struct {
		status int
		class  delivery.ErrorClass
	}
	var results []result
	for status := 100; status <= 999; status++ {
		results = append(results, result{status, ""})
		for _, class := range delivery.Classes() {
			results = append(results, result{status, class}) // the answer began well and its body did not end
		}
	}
	for _, class := range delivery.Classes() {
		results = append(results, result{0, class})
	}
	classes := len(delivery.Classes())
	require.Equal(t, 900*(classes+1)+classes, len(results))
	delivered := 0
	for _, r := range results {
		name := fmt.Sprintf("%d %s", r.status, r.class)
		for number := 1; number <= 5; number++ {
			a := &delivery.Attempt{Number: number, StatusCode: r.status, Class: r.class}
			got := delivery.Decide(a, policy, now, now, nil)
			switch {
			case r.class == "" && r.status/100 == 2:
				delivered++
				require.True(t, a.Succeeded(), name)
				require.Equal(t, delivery.Outcome{Status: delivery.Delivered}, got, name)
			case number < 3:
				require.False(t, a.Succeeded(), name)
				require.Equal(t, delivery.Outcome{Status: delivery.Pending, Next: due[number]}, got, name)
			default:
				require.Equal(t, delivery.Outcome{Status: delivery.Exhausted}, got, name)
			}
		}
	}
	require.Equal(t, 100*5, delivered)
}

// What an endpoint asks for by Retry-After is never undercut, by no nanosecond, whatever the status; what the policy asks for beyond it counts.
func TestARetryIsNotBeforeWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)
	policy := backoff.Policy{Schedule: []time.Duration{time.Minute, time.Minute}, Jitter: backoff.NoJitter}
	planned := now.Add(time.Minute).Truncate(time.Microsecond)
	for _, status := range []int{301, 400, 404, 429, 500, 503, 999} {
		for notBefore, want := range map[time.Time]time.Time{
			{}:                            planned,
			now.Add(time.Second):          planned,
			now.Add(time.Minute):          planned.Add(time.Microsecond), // 789 ns later than what can be stored
			now.Add(time.Hour):            now.Add(time.Hour).Truncate(time.Microsecond).Add(time.Microsecond),
			planned.Add(10 * time.Minute): planned.Add(10 * time.Minute),
		} {
			got := delivery.Decide(&delivery.Attempt{Number: 1, StatusCode: status, NotBefore: notBefore}, policy, now, now, nil)
			require.Equal(t, delivery.Outcome{Status: delivery.Pending, Next: want}, got, "%d, %s", status, notBefore)
		}
	}
	spent := delivery.Decide(&delivery.Attempt{Number: 3, StatusCode: 429, NotBefore: now.Add(time.Hour)}, policy, now, now, nil)
	require.Equal(t, delivery.Exhausted, spent.Status)
}

func TestNoRetryIsPlannedBeyondTheAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	policy := backoff.Policy{Schedule: []time.Duration{time.Minute, time.Minute}, Jitter: backoff.NoJitter, MaxAge: time.Hour}
	for _, tt := range []struct {
		age        time.Duration
		retryAfter time.Duration
		want       delivery.Status
	}{
		{0, 0, delivery.Pending}, {59 * time.Minute, 0, delivery.Pending}, {59*time.Minute + time.Millisecond, 0, delivery.Exhausted}, {24 * time.Hour, 0, delivery.Exhausted},
		{30 * time.Minute, 30 * time.Minute, delivery.Pending}, {30 * time.Minute, 31 * time.Minute, delivery.Exhausted},
	} {
		a := &delivery.Attempt{Number: 1, StatusCode: 503}
		if tt.retryAfter > 0 {
			a.NotBefore = now.Add(tt.retryAfter)
		}
		require.Equal(t, tt.want, delivery.Decide(a, policy, now.Add(-tt.age), now, nil).Status, "%+v", tt)
		policy := policy
		policy.MaxAge = 0
		require.Equal(t, delivery.Pending, delivery.Decide(a, policy, now.Add(-tt.age), now, nil).Status, "without a limit")
	}
	old := &delivery.Attempt{Number: 1, StatusCode: 200}
	require.Equal(t, delivery.Delivered, delivery.Decide(old, policy, now.Add(-48*time.Hour), now, nil).Status, "by hand, say")
}

func TestARetryIsPlannedWithJitterInWholeMicroseconds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 999, time.UTC)
	failed := &delivery.Attempt{Number: 1, StatusCode: 500}
	policy := backoff.Policy{Base: time.Second, Jitter: 0.2} // 2 s ± 20 %
	for rnd, want := range map[float64]time.Duration{0: 1600 * time.Millisecond, 0.5: 2 * time.Second, 0.999999: 2399 * time.Millisecond} {
		got := delivery.Decide(failed, policy, now, now, func() float64 { return rnd })
		require.Equal(t, delivery.Pending, got.Status)
		require.WithinDuration(t, now.Add(want), got.Next, 2*time.Millisecond)
		require.Zero(t, got.Next.Nanosecond()%1000, "Postgres keeps no more, and the message must say the same")
	}
}

func TestOneAttemptOnly(t *testing.T) {
	t.Parallel()
	got := delivery.Decide(&delivery.Attempt{Number: 1, Class: delivery.ClassDNS}, backoff.Policy{MaxAttempts: 1}, time.Now(), time.Now(), nil)
	require.Equal(t, delivery.Outcome{Status: delivery.Exhausted}, got)
}

func TestSecretsEnd(t *testing.T) {
	t.Parallel()
	at := time.Now()
	current, old, ended := newSecret(), newSecret(), newSecret()
	target := &delivery.Target{Secrets: []delivery.Secret{{Value: current}, {Value: old, ExpiresAt: at.Add(1)}, {Value: ended, ExpiresAt: at}}}
	got := target.SecretsAt(at)
	require.Len(t, got, 2)
	require.Equal(t, current.Reveal(), got[0].Reveal())
	require.Equal(t, old.Reveal(), got[1].Reveal())
	require.Len(t, target.SecretsAt(at.Add(time.Hour)), 1)
	require.Empty(t, (&delivery.Target{}).SecretsAt(at))
}
