package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

func newSecret() signature.Secret { return signature.NewSecret() }

// situation is one combination of everything that Admit looks at.
type situation struct {
	status                        delivery.Status
	attempts                      int // the message is for the third attempt: two were made
	parked, claimed               bool
	deleted, disabled, unsignable bool
	mustClaim, redelivered        bool
	otherDue, old                 bool
}

func situations() (all []situation) {
	both := []bool{false, true}
	for _, status := range []delivery.Status{delivery.Pending, delivery.Delivered, delivery.Exhausted, delivery.Cancelled} {
		for attempts := range 5 {
			for bits := range 1 << 9 {
				bit := func(n int) bool { return both[bits>>n&1] }
				all = append(all, situation{status, attempts, bit(0), bit(1), bit(2), bit(3), bit(4), bit(5), bit(6), bit(7), bit(8)})
			}
		}
	}
	return all
}

const (
	timeout = 15 * time.Second
	window  = 60 * time.Second // in which a message has no twin
	margin  = 8 * time.Second
)

func (s situation) admit() delivery.Admission {
	due := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := delivery.Request{Attempt: 3, Due: due.In(time.FixedZone("", 3600)), MustClaim: s.mustClaim}
	row := delivery.Row{Status: s.status, Attempts: s.attempts, NextAttemptAt: due, Parked: s.parked, Claimed: s.claimed, Age: window - timeout - margin - 1}
	if s.otherDue {
		row.NextAttemptAt = due.Add(time.Microsecond)
	}
	if s.old {
		row.Age++
	}
	return delivery.Admit(r, s.redelivered, row, &delivery.Target{Timeout: timeout, Deleted: s.deleted, Disabled: s.disabled, Unsignable: s.unsignable}, window)
}

// Each admission exactly when docs/architecture.md says so, in every combination.
func TestAdmit(t *testing.T) {
	t.Parallel()
	seen := map[delivery.Admission]int{}
	for _, s := range situations() {
		want := delivery.Stale
		if current := s.status == delivery.Pending && s.attempts == 2 && !s.parked && !s.claimed; current {
			fresh := !s.mustClaim && !s.redelivered && !s.otherDue && !s.old
			switch {
			case s.deleted: // whatever else is true of the endpoint
				want = delivery.Cancel
			case s.disabled: // nothing is sent, so no secret is needed
				want = delivery.Park
			case s.unsignable:
				want = delivery.Stale
			case fresh:
				want = delivery.Start
			default:
				want = delivery.Claim
			}
		}
		seen[want]++
		require.Equal(t, want, s.admit(), fmt.Sprintf("%+v", s))
	}
	require.Equal(t, map[delivery.Admission]int{
		delivery.Start: 1, delivery.Claim: 15, delivery.Park: 32, delivery.Cancel: 64, delivery.Stale: 4*5*512 - 112,
	}, seen)
}

func TestAMessageThatIsEarlyIsFresh(t *testing.T) {
	t.Parallel()
	due := time.Now()
	row := delivery.Row{Status: delivery.Pending, NextAttemptAt: due, Age: -3 * time.Second} // clocks differ
	require.Equal(t, delivery.Start, delivery.Admit(delivery.Request{Attempt: 1, Due: due}, false, row, &delivery.Target{Timeout: timeout}, window))
}

func TestAnAttemptThatMayTakeTooLongIsClaimed(t *testing.T) {
	t.Parallel()
	due := time.Now()
	row := delivery.Row{Status: delivery.Pending, NextAttemptAt: due}
	for limit, want := range map[time.Duration]delivery.Admission{
		window - margin - 1: delivery.Start, window - margin: delivery.Claim, time.Hour: delivery.Claim,
	} {
		require.Equal(t, want, delivery.Admit(delivery.Request{Attempt: 1, Due: due}, false, row, &delivery.Target{Timeout: limit}, window), limit.String())
	}
}

func TestAClaimOutlivesItsAttempt(t *testing.T) {
	t.Parallel()
	require.Equal(t, 30*time.Second, delivery.ClaimFor(&delivery.Target{Timeout: timeout}))
	require.Greater(t, delivery.ClaimFor(&delivery.Target{Timeout: time.Hour}), time.Hour+margin)
}

func TestMayRetry(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		state delivery.RetryState
		want  bool
		code  string
	}{
		"exhausted":                {delivery.RetryState{Status: delivery.Exhausted}, true, ""},
		"cancelled":                {delivery.RetryState{Status: delivery.Cancelled}, true, ""},
		"planned for later":        {delivery.RetryState{Status: delivery.Pending, Planned: true}, true, ""},
		"parked, endpoint enabled": {delivery.RetryState{Status: delivery.Pending}, true, ""},
		"due":                      {delivery.RetryState{Status: delivery.Pending, Planned: true, Due: true}, false, ""},
		"in progress":              {delivery.RetryState{Status: delivery.Pending, Planned: true, Claimed: true}, false, ""},
		"cancelled, still running": {delivery.RetryState{Status: delivery.Cancelled, Claimed: true}, false, "attempt_in_progress"},
		"delivered":                {delivery.RetryState{Status: delivery.Delivered}, false, "delivery_ended"},
		"endpoint disabled":        {delivery.RetryState{Status: delivery.Exhausted, Disabled: true}, false, "endpoint_disabled"},
		"endpoint deleted":         {delivery.RetryState{Status: delivery.Cancelled, Deleted: true, Disabled: true}, false, "endpoint_deleted"},
		"delivered, deleted":       {delivery.RetryState{Status: delivery.Delivered, Deleted: true}, false, "endpoint_deleted"},
	} {
		got, err := tt.state.MayRetry()
		require.Equal(t, tt.want, got, name)
		require.Equal(t, tt.code, string(fault.CodeOf(err)), name)
		if err != nil {
			require.Equal(t, fault.KindConflict, fault.KindOf(err), name)
		}
	}
}

// Who took a delivery out of the database and claimed it may attempt it, whatever the breaker says, for as long as the claim covers the attempt.
func TestAdmitHeld(t *testing.T) {
	t.Parallel()
	taken := time.Now()
	row := delivery.Row{Status: delivery.Pending, NextAttemptAt: taken, Claimed: true, ClaimedUntil: taken.Add(timeout + 15*time.Second)}
	r := delivery.Request{Attempt: 1, Due: taken, MustClaim: true, Held: row.ClaimedUntil}
	target := delivery.Target{Timeout: timeout, Open: true}
	for name, tt := range map[string]struct {
		change func(r *delivery.Request, row *delivery.Row, target *delivery.Target)
		want   delivery.Admission
	}{
		"held":             {func(*delivery.Request, *delivery.Row, *delivery.Target) {}, delivery.Start},
		"by somebody else": {func(r *delivery.Request, _ *delivery.Row, _ *delivery.Target) { r.Held = r.Held.Add(1000) }, delivery.Stale},
		"by a message":     {func(r *delivery.Request, _ *delivery.Row, _ *delivery.Target) { r.Held = time.Time{} }, delivery.Stale},
		"just long enough": {func(_ *delivery.Request, row *delivery.Row, _ *delivery.Target) { row.Age = 15*time.Second - margin }, delivery.Start},
		"not long enough": {func(_ *delivery.Request, row *delivery.Row, _ *delivery.Target) {
			row.Age = 15*time.Second - margin + 1
		}, delivery.Stale},
		"run out, the breaker open": {func(_ *delivery.Request, row *delivery.Row, _ *delivery.Target) { row.Claimed = false }, delivery.Park},
		"run out, the breaker closed": {func(_ *delivery.Request, row *delivery.Row, target *delivery.Target) {
			row.Claimed, target.Open = false, false
		}, delivery.Claim},
		"of a disabled endpoint": {func(_ *delivery.Request, _ *delivery.Row, target *delivery.Target) { target.Disabled = true }, delivery.Park},
		"of a deleted endpoint":  {func(_ *delivery.Request, _ *delivery.Row, target *delivery.Target) { target.Deleted = true }, delivery.Cancel},
		"without a payload":      {func(_ *delivery.Request, row *delivery.Row, _ *delivery.Target) { row.Scrubbed = true }, delivery.Cancel},
		"parked again":           {func(_ *delivery.Request, row *delivery.Row, _ *delivery.Target) { row.Parked = true }, delivery.Stale},
	} {
		r, row, target := r, row, target
		tt.change(&r, &row, &target)
		require.Equal(t, tt.want, delivery.Admit(r, false, row, &target, window), name)
	}
	row.Claimed, r.Held = false, time.Time{}
	require.Equal(t, delivery.Park, delivery.Admit(r, false, row, &target, window), "no claim: the breaker counts")
}
