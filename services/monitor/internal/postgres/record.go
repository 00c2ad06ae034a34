package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// Record implements monitor.Store: checks, counts, states, the ledger, incidents and the tenants' events in one transaction.
func (s *Store) Record(ctx context.Context, findings []*monitor.Finding) (what monitor.Consequences, err error) {
	ctx, end := s.db.Joint(ctx, "record", telemetry.Contexts(findings, func(f **monitor.Finding) string { return (*f).Traceparent }))
	defer func() { end(err) }()
	findings = slices.Clone(findings)
	slices.SortStableFunc(findings, func(a, b *monitor.Finding) int {
		if c := compareKeys(a.Monitor.Key, b.Monitor.Key); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Confirmation, b.Confirmation))
	})
	keys := make([]monitor.Key, 0, len(findings))
	for _, f := range findings {
		keys = append(keys, f.Monitor.Key)
	}
	keys = slices.Compact(keys)
	var due []stream.DeliveryReady
	err = s.db.AsKeys(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		found, err := s.lock(ctx, q, keys)
		if err != nil {
			return fmt.Errorf("lock states: %w", err)
		}
		added, err := storeChecks(ctx, q, findings)
		if err != nil {
			return fmt.Errorf("store checks: %w", err)
		}
		now, add := time.Now(), rollups{}
		for _, f := range added {
			if j := found[f.Monitor.Key]; j != nil && !j.deleted {
				j.learn(now)
				j.report(f, add, now)
			}
		}
		what, due, err = s.write(ctx, q, inOrder(found), add, now)
		return err
	})
	if err == nil && len(due) > 0 {
		s.announce(due...)
	}
	return what, err
}

func inOrder(found map[monitor.Key]*judged) []*judged {
	all := make([]*judged, 0, len(found))
	for _, j := range found {
		all = append(all, j)
	}
	return all
}

// report has the rules judge a finding and counts it. A check of another interval than the monitor has by now is kept, but says nothing.
func (j *judged) report(f *monitor.Finding, add rollups, now time.Time) {
	if f.Monitor.Interval != j.rules.Interval {
		return
	}
	schedule := f.Monitor.Schedule()
	at := schedule.At(f.Slot)
	state, effects := j.rules.Report(j.state, verdict.Report{
		Region: f.Region, Slot: check.Slot{Number: f.Slot, At: at}, Confirmation: f.Confirmation,
		Outcome: f.Outcome, Cause: f.Cause, Detail: storable(f.Detail), CertEnds: f.CertEnds, // it goes into a document that Postgres has to take
	}, now)
	j.take(state, effects)
	j.reports = j.reports || f.Outcome != check.NotChecked
	if effects.Checked+effects.Late > 0 {
		r := add.of(f.Monitor, f.Region, at)
		r.add(f)
		r.late += effects.Late
		j.account.Add(f.Region, &f.Result)
	}
	if effects.Missed < 0 {
		add.of(f.Monitor, f.Region, at).missed += effects.Missed
	}
	add.gap(f, effects.Missed, now)
}

// gap counts slots as missed that nobody checked right before a finding. Of a long gap a row for each hour is written, not for every five minutes.
func (all rollups) gap(f *monitor.Finding, missed int, now time.Time) {
	schedule := f.Monitor.Schedule()
	for n := int64(1); n <= int64(missed); n++ {
		at := schedule.At(f.Slot - n)
		switch age := now.Sub(at); {
		case age > missedMost:
			return
		case age > time.Hour:
			at = at.Truncate(time.Hour)
		}
		all.of(f.Monitor, f.Region, at).missed++
	}
}

// missedMost is how far back slots are counted as missed: nobody was there for longer, which needs no row for every five minutes.
const missedMost = 24 * time.Hour

func scanKey(row pgx.CollectableRow) (key monitor.Key, err error) {
	var owner uuid.UUID
	err = row.Scan(&owner, &key.ID)
	key.Tenant = tenant.ID(owner)
	return key, err
}

const (
	dueStates = `
SELECT tenant_id, monitor_id FROM monitor_states WHERE look_at <= now() ORDER BY look_at LIMIT $1`
	lookMost = 256
)

// reached notes whether the database was there: while it was not, no call could be taken.
func (s *Store) reached(err error) {
	if err != nil && postgres.IsUnavailable(err) {
		s.lost.Store(true)
	} else if s.lost.Swap(false) {
		s.available.Store(time.Now().UnixNano())
	}
}

// availableSince is since when calls can be taken.
func (s *Store) availableSince() time.Time {
	if s.lost.Load() {
		return time.Now()
	}
	return time.Unix(0, s.available.Load())
}

// Look has the rules look at monitors for which it is time, and says whether there are more.
func (s *Store) Look(ctx context.Context) (what monitor.Consequences, more bool, err error) {
	var keys []monitor.Key
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, dueStates, lookMost)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, scanKey)
		return err
	})
	s.reached(err)
	if err != nil || len(keys) == 0 {
		return what, false, err
	}
	slices.SortFunc(keys, compareKeys)
	var due []stream.DeliveryReady
	err = s.db.AsKeys(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		found, err := s.lock(ctx, q, keys)
		if err != nil {
			return fmt.Errorf("lock states: %w", err)
		}
		now := time.Now()
		for _, j := range found {
			if j.due && j.lookAt.After(now) {
				now = j.lookAt // this machine's clock is behind the database's
			}
		}
		for _, j := range found {
			if !j.due {
				continue // another replica has looked
			}
			j.learn(now)
			j.look(now)
		}
		what, due, err = s.write(ctx, q, inOrder(found), nil, now)
		return err
	})
	if err == nil && len(due) > 0 {
		s.announce(due...)
	}
	return what, err == nil && len(keys) == lookMost, err
}
