package backoff_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/backoff"
)

func fixed(f float64) func() float64 { return func() float64 { return f } }

func TestDelay(t *testing.T) {
	t.Parallel()
	schedule := []time.Duration{5 * time.Second, 5 * time.Minute, 0}
	exact := backoff.Policy{Jitter: backoff.NoJitter}
	tests := []struct {
		name    string
		policy  backoff.Policy
		attempt int
		rnd     float64
		want    time.Duration
	}{
		{"zero policy is the default", backoff.Policy{}, 1, 0.5, 2 * time.Second},
		{"second failure", exact, 2, 0, 4 * time.Second},
		{"last below the cap", exact, 11, 0, 2048 * time.Second},
		{"first at the cap", exact, 12, 0, time.Hour},
		{"far beyond", exact, math.MaxInt, 0, time.Hour},
		{"before the first counts as the first", exact, 0, 0, 2 * time.Second},
		{"negative counts as the first", exact, -7, 0, 2 * time.Second},
		{"base", backoff.Policy{Base: 10 * time.Millisecond, Jitter: backoff.NoJitter}, 3, 0, 80 * time.Millisecond},
		{"cap", backoff.Policy{Cap: 3 * time.Second, Jitter: backoff.NoJitter}, 2, 0, 3 * time.Second},
		{"cap hit exactly", backoff.Policy{Cap: 4 * time.Second, Jitter: backoff.NoJitter}, 2, 0, 4 * time.Second},
		{"base above cap", backoff.Policy{Base: time.Hour, Cap: time.Minute, Jitter: backoff.NoJitter}, 1, 0, time.Minute},
		{"most jitter down", backoff.Policy{}, 1, 0, 1600 * time.Millisecond},
		{"most jitter up", backoff.Policy{Jitter: 1}, 1, 1, 4 * time.Second},
		{"jitter beyond the cap", backoff.Policy{Cap: 10 * time.Second}, 9, 1, 12 * time.Second},
		{"schedule", backoff.Policy{Schedule: schedule, Jitter: backoff.NoJitter}, 2, 0, 5 * time.Minute},
		{"schedule with jitter", backoff.Policy{Schedule: schedule}, 1, 0, 4 * time.Second},
		{"schedule of zero", backoff.Policy{Schedule: schedule}, 3, 0.9, 0},
		{"schedule spent repeats its end", backoff.Policy{Schedule: schedule[:2], Jitter: backoff.NoJitter}, 9, 0, 5 * time.Minute},
		{"no overflow", backoff.Policy{Base: math.MaxInt64, Cap: math.MaxInt64, Jitter: 1}, 5, 0.99, math.MaxInt64},
		{"never negative", backoff.Policy{Schedule: []time.Duration{-time.Hour}, Jitter: 1}, 1, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, tt.policy.Delay(tt.attempt, fixed(tt.rnd)))
		})
	}
}

func TestDelayWithoutASourceOfRandomness(t *testing.T) {
	t.Parallel()
	for range 1000 {
		d := backoff.Default().Delay(1, nil)
		require.InDelta(t, 2*time.Second, d, float64(400*time.Millisecond))
	}
}

func TestSpent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		policy   backoff.Policy
		attempts int
	}{
		{"default", backoff.Policy{}, 15},
		{"one", backoff.Policy{MaxAttempts: 1}, 1},
		{"schedule", backoff.Policy{Schedule: make([]time.Duration, 7)}, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.attempts, tt.policy.Attempts())
			require.False(t, tt.policy.Spent(0))
			require.False(t, tt.policy.Spent(tt.attempts-1))
			require.True(t, tt.policy.Spent(tt.attempts))
			require.True(t, tt.policy.Spent(tt.attempts+1))
		})
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	schedule := []time.Duration{time.Second}
	exponential := backoff.Policy{Base: 1, Cap: 2, MaxAttempts: 3, Jitter: 0.4}
	tests := []struct {
		name             string
		under, over, got backoff.Policy
	}{
		{"nothing set", exponential, backoff.Policy{}, exponential},
		{"all set", backoff.Default(), exponential, exponential},
		{"one field", exponential, backoff.Policy{Cap: 9}, backoff.Policy{Base: 1, Cap: 9, MaxAttempts: 3, Jitter: 0.4}},
		{"schedule replaces growth", exponential, backoff.Policy{Schedule: schedule}, backoff.Policy{Schedule: schedule, Jitter: 0.4}},
		{"growth replaces schedule", backoff.Policy{Schedule: schedule, Jitter: 0.3}, backoff.Policy{Base: 5}, backoff.Policy{Base: 5, Jitter: 0.3}},
		{"age alone keeps the schedule", backoff.Policy{Schedule: schedule}, backoff.Policy{MaxAge: 7}, backoff.Policy{Schedule: schedule, MaxAge: 7}},
		{"age stays with another shape", backoff.Policy{Base: 1, MaxAge: 7}, backoff.Policy{Schedule: schedule}, backoff.Policy{Schedule: schedule, MaxAge: 7}},
		{"jitter alone keeps the schedule", backoff.Policy{Schedule: schedule}, backoff.Policy{Jitter: backoff.NoJitter}, backoff.Policy{Schedule: schedule, Jitter: backoff.NoJitter}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.got, tt.under.Merge(tt.over))
		})
	}
	require.Equal(t, backoff.Default(), backoff.Policy{}.WithDefaults())
}

func TestValidate(t *testing.T) {
	t.Parallel()
	ok := []backoff.Policy{
		{}, backoff.Default(), {Jitter: backoff.NoJitter}, {Schedule: []time.Duration{0, backoff.MaxDelay}},
		{Schedule: make([]time.Duration, 2), MaxAttempts: 3}, {MaxAttempts: backoff.MaxAttempts}, {Base: time.Millisecond, Cap: time.Millisecond},
	}
	for _, p := range ok {
		require.NoError(t, p.Validate(), "%+v", p)
	}
	broken := []struct {
		field  string
		policy backoff.Policy
	}{
		{"jitter", backoff.Policy{Jitter: 1.01}},
		{"jitter", backoff.Policy{Jitter: -0.5}},
		{"jitter", backoff.Policy{Jitter: math.NaN()}},
		{"base", backoff.Policy{Base: -1}},
		{"base", backoff.Policy{Base: backoff.MaxDelay + 1}},
		{"cap", backoff.Policy{Cap: -1}},
		{"cap", backoff.Policy{Base: 2 * time.Hour}},
		{"max_attempts", backoff.Policy{MaxAttempts: -1}},
		{"max_attempts", backoff.Policy{MaxAttempts: 101}},
		{"max_attempts", backoff.Policy{Schedule: make([]time.Duration, 2), MaxAttempts: 2}},
		{"schedule", backoff.Policy{Schedule: make([]time.Duration, 100)}},
		{"schedule", backoff.Policy{Schedule: make([]time.Duration, 1), Base: 1}},
		{"schedule.1", backoff.Policy{Schedule: []time.Duration{0, -1}}},
	}
	for _, tt := range broken {
		var field *backoff.FieldError
		require.ErrorAs(t, tt.policy.Validate(), &field, "%+v", tt.policy)
		require.Equal(t, tt.field, field.Field)
		require.ErrorContains(t, field, tt.field+": ")
	}
}

// A valid policy gives delays within its bounds, whatever the attempt and the randomness.
func FuzzDelay(f *testing.F) {
	f.Add(int64(time.Second), int64(time.Hour), 0.2, 3, 0.5)
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), 1.0, math.MaxInt, 0.99)
	f.Fuzz(func(t *testing.T, base, limit int64, jitter float64, attempt int, rnd float64) {
		p := backoff.Policy{Base: time.Duration(base), Cap: time.Duration(limit), Jitter: jitter}
		if p.Validate() != nil || !(rnd >= 0 && rnd < 1) {
			return
		}
		d := p.Delay(attempt, fixed(rnd))
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, 2*p.WithDefaults().Cap)
	})
}

func ExamplePolicy_Delay() {
	p := backoff.Default().Merge(backoff.Policy{MaxAttempts: 4, Jitter: backoff.NoJitter})
	for attempt := 1; !p.Spent(attempt); attempt++ {
		fmt.Println(p.Delay(attempt, nil))
	}
	// Output:
	// 2s
	// 4s
	// 8s
}
