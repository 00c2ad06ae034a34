package delivery

import "time"

const (
	// freshMargin is what an attempt may need beyond its timeout until its result is committed.
	freshMargin = 8 * time.Second
	// claimMargin is the same for a claim, with room for a slow database.
	claimMargin = 15 * time.Second
)

// Row is what the database says about the delivery that a message names.
type Row struct {
	Status        Status
	Attempts      int
	NextAttemptAt time.Time
	Parked        bool
	Scrubbed      bool // there is no payload any more
	Claimed       bool // a claim is running
	ClaimedUntil  time.Time
	Age           time.Duration // since NextAttemptAt, by the database's clock; negative: not due yet
}

// Admission says what may be done with a message.
type Admission int

// The admissions.
const (
	Stale  Admission = iota // out of date: forget it
	Start                   // make the attempt
	Claim                   // make the attempt if the claim succeeds
	Park                    // the endpoint is disabled, or its breaker open: park the delivery
	Cancel                  // the endpoint is deleted, or the payload scrubbed: cancel the delivery
)

// Admit decides by the rules of docs/architecture.md, "Which message may start an attempt". redelivered says that the broker handed
// the message out before; fresh is how long after its due time a message has no twin.
func Admit(r Request, redelivered bool, row Row, target *Target, fresh time.Duration) Admission {
	held := row.Claimed && !r.Held.IsZero() && row.ClaimedUntil.Equal(r.Held)
	switch {
	case row.Status != Pending || row.Attempts != r.Attempt-1 || row.Parked || row.Claimed && !held:
		return Stale
	case target.Deleted || row.Scrubbed:
		return Cancel
	case target.Disabled || target.Open && !held:
		return Park
	case target.Unsignable:
		return Stale // the row stays due: the reconciler asks again
	case held && row.claimLeft() < target.Timeout+freshMargin:
		return Stale // it would run out during the attempt; then the reconciler asks again
	case held:
		return Start
	case !r.MustClaim && !redelivered && row.NextAttemptAt.Equal(r.Due) && row.Age+target.Timeout+freshMargin < fresh:
		return Start
	}
	return Claim
}

// claimLeft is how long the claim of a delivery that was taken out for this lasts still: it was due when it was taken out.
func (row Row) claimLeft() time.Duration { return row.ClaimedUntil.Sub(row.NextAttemptAt) - row.Age }

// ClaimFor says how long a claim for an attempt at target lasts.
func ClaimFor(target *Target) time.Duration { return target.Timeout + claimMargin }
