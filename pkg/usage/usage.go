// Package usage owns how far counting is: which moments are over, so that what was stored in them can be counted once and for all, and the record of it.
// What is counted, and where to, is its callers' (docs/adr/0015-usage.md).
//
// Rows carry the moment at which the database stored them (recorded_at). A moment is over when no transaction is left that may have stored a row in it
// without showing it yet:
//
//	    counted_until          horizon              sealed_at                     now
//	──────────┼────────────────────┼───── Margin ───────┼─────────────────────────────┼──▶
//	 counted  │  may be counted as soon as every        │ transactions seen at sealed_at,
//	          │  transaction before sealed_xid is over  │ and all later ones: sealed_xid…
//
// A row is stamped a moment before its transaction has an id at the latest; Margin is far longer. So all rows from before the horizon are of transactions
// before sealed_xid, however long these take: behind a lock, a standby that does not answer, a debugger. A transaction that stays open holds counting up, and
// nothing gets lost.
//
// The count, the rows that it is added to and the record of how far it is change in one transaction, under the record's lock: any number of replicas may
// count, and whatever dies in between has counted nothing.
package usage

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
)

// Part is what one service counts.
type Part string

// The parts.
const (
	Delivery Part = "delivery" // events, deliveries, attempts
	Monitor  Part = "monitor"  // checks, notifications
)

const (
	// Margin is how old a moment has to be at least.
	Margin = time.Minute
	// Every is the time between rounds.
	Every = time.Minute
	// RoundMost bounds one.
	RoundMost = 5 * time.Minute
	// Reach is for how long a row's id may be older than the row: results wait in memory while the database is away. It bounds the partitions that are read.
	Reach = 7 * 24 * time.Hour

	// most is what is counted at once: an outage of days is caught up with in short transactions.
	most = 5 * time.Minute
)

// Counter counts what was stored in [from, until), which is within one hour of UTC, and adds it to what is stored of that hour.
type Counter func(ctx context.Context, q postgres.Querier, from, until time.Time) error

const (
	lookProgress = `
SELECT counted_until, coalesce(sealed_at, '-infinity') - $2::interval, coalesce(pg_snapshot_xmin(pg_current_snapshot()) >= sealed_xid, false), sealed_at IS NULL, now()
FROM usage_progress WHERE part = $1 FOR UPDATE SKIP LOCKED`
	moveProgress = `UPDATE usage_progress SET counted_until = $2 WHERE part = $1`
	sealProgress = `UPDATE usage_progress SET sealed_at = now(), sealed_xid = pg_snapshot_xmax(pg_current_snapshot()) WHERE part = $1`
)

// Round counts some minutes, in q's transaction, and says whether there are more that may be counted. While another replica counts it does nothing.
func Round(ctx context.Context, q postgres.Querier, part Part, margin time.Duration, count Counter) (more bool, err error) {
	var from, horizon, now time.Time
	var settled, unsealed bool
	err = q.QueryRow(ctx, lookProgress, part, margin).Scan(
		postgres.Instant{Time: &from}, postgres.Instant{Time: &horizon}, &settled, &unsealed, postgres.Instant{Time: &now})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !unsealed && !settled {
		return false, nil // later: another seal would have to wait for more
	}
	until := from
	if from.Before(horizon) {
		until = earliest(horizon, from.Add(most), from.UTC().Truncate(time.Hour).Add(time.Hour))
		if err := count(ctx, q, from, until); err != nil {
			return false, err
		}
		if _, err := q.Exec(ctx, moveProgress, part, until); err != nil {
			return false, err
		}
		if until.Before(horizon) {
			return true, nil
		}
	}
	_, err = q.Exec(ctx, sealProgress, part)
	return err == nil && now.Add(-margin).Sub(until) >= Every, err
}

func earliest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.Before(first) {
			first = t
		}
	}
	return first
}

const selectBehind = `SELECT extract(epoch FROM clock_timestamp() - counted_until)::float8 FROM usage_progress WHERE part = $1`

// Behind says for how long nothing was counted.
func Behind(ctx context.Context, q postgres.Querier, part Part) (time.Duration, error) {
	var seconds float64
	err := q.QueryRow(ctx, selectBehind, part).Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), err
}

const summarize = `SELECT beaconpost_summarize_recorded($1)`

// Summarize brings the index that a count reads up to date. It is a matter of speed only.
func Summarize(ctx context.Context, q postgres.Querier, table string) error {
	_, err := q.Exec(ctx, summarize, table)
	return err
}
