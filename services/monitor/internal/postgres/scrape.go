package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// Of a heartbeat's state more is read than where it stands: that a call is missing is in no account, and what its calls said stays true for as long as it takes
// until the next, however long ago they were.
const listSampled = `
SELECT m.id, m.name, m.kind, m.project_id, m.interval_ms, s.status, s.account,
    CASE WHEN m.kind = 'heartbeat' THEN coalesce(s.state->>'verdict', '') ELSE '' END, CASE WHEN m.kind = 'heartbeat' THEN (s.state->'heart'->>'at')::timestamptz END
FROM monitors m JOIN monitor_states s ON s.tenant_id = m.tenant_id AND s.monitor_id = m.id
WHERE m.tenant_id = @tenant AND m.deleted_at IS NULL AND (@tag = '' OR @tag = ANY (m.tags)) AND (@project::uuid IS NULL OR m.project_id = @project)
ORDER BY m.id LIMIT @limit`

// Samples gives at most limit+1 monitors of t in numbers as of now; if it is more than limit, without the windows.
func (s *Tenancy) Samples(ctx context.Context, t tenant.ID, f ledger.SampleFilter, now time.Time) (samples []ledger.Sample, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listSampled, pgx.NamedArgs{"tenant": t.UUID(), "tag": f.Tag, "project": f.Project, "limit": f.Limit + 1})
		if err != nil {
			return err
		}
		samples, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (ledger.Sample, error) { return scanSample(row, now) })
		if err != nil || len(samples) > f.Limit {
			return err
		}
		return addTimes(ctx, q, t, samples, now)
	})
	return samples, err
}

func scanSample(row pgx.CollectableRow, now time.Time) (one ledger.Sample, err error) {
	var interval int64
	var account []byte
	var said verdict.Status
	var calledAt time.Time
	err = row.Scan(&one.Monitor, &one.Name, &one.Kind, &one.Project, &interval, &one.Status, &account, &said, postgres.Instant{Time: &calledAt})
	if err != nil {
		return one, err
	}
	if err := json.Unmarshal(account, &one.Account); err != nil {
		return one, fmt.Errorf("read account of monitor %s: %w", one.Monitor, err)
	}
	if one.Kind == check.Heartbeat {
		addCall(&one, said, calledAt)
	} else {
		one.Since(now.Add(-verdict.Silence(millis(interval))))
	}
	return one, nil
}

// addCall makes what a heartbeat's calls, or their absence, say its last check.
func addCall(s *ledger.Sample, said verdict.Status, calledAt time.Time) {
	calls := s.Regions[callsRegion]
	calls.Last = nil
	if !calledAt.IsZero() && s.Status != string(verdict.Paused) && (said == verdict.Up || said == verdict.Down) {
		calls.Last = &ledger.Last{Outcome: check.Outcome(said), StartedAt: calledAt}
	}
	if calls == (ledger.Region{}) {
		return
	}
	if s.Regions == nil {
		s.Regions = map[string]ledger.Region{}
	}
	s.Regions[callsRegion] = calls
}

// As sumTimes, for many monitors. The first interval that matters is the last one that starts before the longest window.
const sumWindows = `
SELECT k.id, w.n, i.status, (sum(extract(epoch FROM least(i.ended_at, $4) - greatest(i.started_at, w.since))) * 1000000)::bigint
FROM unnest($2::uuid[]) AS k (id)
CROSS JOIN LATERAL (SELECT coalesce(
    (SELECT started_at FROM monitor_intervals WHERE tenant_id = $1 AND monitor_id = k.id AND started_at <= $5 ORDER BY started_at DESC LIMIT 1), '-infinity') AS at OFFSET 0) first
CROSS JOIN LATERAL (
    SELECT status, started_at, ended_at FROM monitor_intervals WHERE tenant_id = $1 AND monitor_id = k.id AND started_at < $4 AND started_at >= first.at OFFSET 0) i
JOIN unnest($3::timestamptz[]) WITH ORDINALITY AS w (since, n) ON coalesce(i.ended_at, 'infinity') > w.since
GROUP BY k.id, w.n, i.status`

// addTimes adds for how long each was in which status.
func addTimes(ctx context.Context, q postgres.Querier, t tenant.ID, samples []ledger.Sample, now time.Time) error {
	windows, at := ledger.SampleWindows(), make(map[uuid.UUID]int, len(samples))
	for i := range samples {
		at[samples[i].Monitor] = i
	}
	since := func(i int) time.Time { return now.Add(-windows[i].Length) }
	ids := postgres.UUIDs(len(samples), func(i int) uuid.UUID { return samples[i].Monitor })
	rows, err := q.Query(ctx, sumWindows, t.UUID(), ids, postgres.Times(len(windows), since), now, since(len(windows)-1))
	if err != nil {
		return err
	}
	var id uuid.UUID
	var n, us int64
	var status string
	_, err = pgx.ForEachRow(rows, []any{&id, &n, &status, &us}, func() error {
		one := &samples[at[id]]
		if one.Windows == nil {
			one.Windows = make([]ledger.Times, len(windows))
		}
		if sum := one.Windows[n-1].Of(status); sum != nil {
			*sum = micros(us)
		}
		return nil
	})
	return err
}
