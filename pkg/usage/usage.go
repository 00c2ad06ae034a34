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
// A row is stamped when its transaction has an id, which the column's default sees to; Margin is for steps of the clock. So all rows from before the horizon
// are of transactions before sealed_xid, however long these take: behind a lock, a standby that does not answer, a debugger. A transaction that stays open
// holds counting up, and nothing gets lost.
//
// The count, the rows that it is added to and the record of how far it is change in one transaction, under the record's lock: any number of replicas may
// count, and whatever dies in between has counted nothing.
package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
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

	roundMost = 5 * time.Minute
	lookMost  = 3 * time.Second // shutdown may wait for it
	// reach is for how long a row's id may be older than the row: results wait in memory while the database is away. It bounds the partitions that are read.
	reach = 7 * 24 * time.Hour
	// most is what is counted at once: an outage of days is caught up with in short transactions.
	most = 5 * time.Minute
)

// Counting is what one service counts, and where.
type Counting struct {
	DB     *postgres.DB
	Role   postgres.Role
	Part   Part
	Tables []string // whose rows are counted by recorded_at
	// Count counts what was stored in [from, until), which is within one hour of UTC, and adds it to what is stored of that hour. Ids of such rows are not below low.
	Count func(ctx context.Context, q postgres.Querier, from, until time.Time, low uuid.UUID) error
	// Expire is the statement that drops hours older than an interval, $1.
	Expire string
}

const (
	// A seal that is ahead of all transactions was restored from another server, whose numbers say nothing here.
	lookProgress = `
SELECT counted_until, CASE WHEN sealed_xid <= pg_snapshot_xmax(pg_current_snapshot()) THEN sealed_at - $2::interval END,
    coalesce(sealed_xid <= pg_snapshot_xmin(pg_current_snapshot()), false), now()
FROM usage_progress WHERE part = $1 FOR UPDATE SKIP LOCKED`
	moveProgress = `UPDATE usage_progress SET counted_until = $2 WHERE part = $1`
	sealProgress = `UPDATE usage_progress SET sealed_at = now(), sealed_xid = pg_snapshot_xmax(pg_current_snapshot()) WHERE part = $1`
)

// Round counts some minutes, none that ended less than margin ago, and says whether there are more that may be counted. While another replica counts it does
// nothing.
func (c Counting) Round(ctx context.Context, margin time.Duration) (more bool, err error) {
	err = c.DB.AsBatch(ctx, c.Role, func(ctx context.Context, q postgres.Querier) error {
		more, err = c.round(ctx, q, margin)
		return err
	})
	return more && err == nil, err
}

func (c Counting) round(ctx context.Context, q postgres.Querier, margin time.Duration) (more bool, err error) {
	var from, horizon, now time.Time // horizon: zero without a seal
	var settled bool
	err = q.QueryRow(ctx, lookProgress, c.Part, margin).Scan(postgres.Instant{Time: &from}, postgres.Instant{Time: &horizon}, &settled, postgres.Instant{Time: &now})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look how far counting is: %w", err)
	}
	if !horizon.IsZero() && !settled {
		return false, nil // later: another seal would have to wait for more
	}
	until := from
	if from.Before(horizon) {
		until = earliest(horizon, from.Add(most), from.Truncate(time.Hour).Add(time.Hour))
		if err := c.Count(ctx, q, from, until, uuid7.Floor(from.Add(-reach))); err != nil {
			return false, fmt.Errorf("count: %w", err)
		}
		if _, err := q.Exec(ctx, moveProgress, c.Part, until); err != nil {
			return false, fmt.Errorf("note how far counting is: %w", err)
		}
		if until.Before(horizon) {
			return true, nil
		}
	}
	if _, err := q.Exec(ctx, sealProgress, c.Part); err != nil {
		return false, fmt.Errorf("seal: %w", err)
	}
	return now.Add(-margin).Sub(until) >= Every, nil
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

// Behind says for how long nothing was counted, by any replica.
func (c Counting) Behind(ctx context.Context) (behind time.Duration, err error) {
	err = c.DB.As(ctx, c.Role, func(ctx context.Context, q postgres.Querier) error {
		var seconds float64
		err := q.QueryRow(ctx, selectBehind, c.Part).Scan(&seconds)
		behind = time.Duration(seconds * float64(time.Second))
		return err
	})
	return behind, err
}

const summarize = `SELECT beaconpost_summarize_recorded($1)`

// Summarize brings the indexes that Count reads up to date. It is a matter of speed only.
func (c Counting) Summarize(ctx context.Context) error {
	for _, table := range c.Tables { // a transaction each: it locks what it works on
		err := c.DB.As(ctx, c.Role, func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, summarize, table)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DropOld drops hours that began longer than age ago; 0: none.
func (c Counting) DropOld(ctx context.Context, age time.Duration) error {
	if age == 0 {
		return nil
	}
	return c.DB.As(ctx, c.Role, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, c.Expire, age)
		return err
	})
}

// Work makes the work of lifecycle.Group's Every: all that can be counted now. behind is told how far it is.
func (c Counting) Work(trouble func(doing string, err error), jobs *telemetry.Jobs, behind func(time.Duration)) func(context.Context) {
	summarize := lifecycle.Rounds(trouble, "summarize usage", roundMost, jobs.Timed("summarize usage", func(ctx context.Context) (bool, error) { return false, c.Summarize(ctx) }))
	count := lifecycle.Rounds(trouble, "count usage", roundMost, jobs.Timed("count usage", func(ctx context.Context) (bool, error) {
		more, err := c.Round(ctx, Margin)
		if errors.Is(ctx.Err(), context.Canceled) {
			return more, err // the process stops
		}
		looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookMost) // a round that was out of time is when it has to be known
		defer cancel()
		late, errLate := c.Behind(looking)
		if errLate == nil {
			behind(late)
		}
		return more, errors.Join(err, errLate)
	}))
	return func(ctx context.Context) {
		summarize(ctx)
		count(ctx)
	}
}
