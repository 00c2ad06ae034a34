package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/histogram"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// A check that is stored already is left out, whoever stored it: its id says which it is.
const insertChecks = `
INSERT INTO monitor_checks (tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, resolve_us, connect_us, tls_us, processing_us, transfer_us,
    status_code, confirmation, outcome, cause, region, detail, ip, evidence)
SELECT tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, resolve_us, connect_us, tls_us, processing_us, transfer_us,
    status_code, confirmation, outcome, cause, region, detail, ip, evidence::jsonb
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
    $13::int[], $14::int[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[])
    AS c (tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, resolve_us, connect_us, tls_us, processing_us, transfer_us,
    status_code, confirmation, outcome, cause, region, detail, ip, evidence)
ON CONFLICT (tenant_id, id) DO NOTHING
RETURNING id`

// storeChecks stores findings and gives those that were not there, in their order.
func storeChecks(ctx context.Context, q postgres.Querier, findings []*monitor.Finding) ([]*monitor.Finding, error) {
	args, ids, err := checkArgs(findings)
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, insertChecks, args...)
	if err != nil {
		return nil, err
	}
	stored, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	fresh := make(map[uuid.UUID]bool, len(stored))
	for _, id := range stored {
		fresh[id] = true
	}
	var added []*monitor.Finding
	for i, f := range findings {
		if fresh[ids[i]] {
			fresh[ids[i]] = false
			added = append(added, f)
		}
	}
	return added, nil
}

const (
	detailMost   = 1000     // bytes
	evidenceMost = 64 << 10 // of JSON; without the body if it is longer
)

func checkArgs(findings []*monitor.Finding) (args []any, ids []uuid.UUID, err error) {
	n := len(findings)
	ids = make([]uuid.UUID, n)
	evidence := make([]string, n)
	for i, f := range findings {
		ids[i] = f.ID()
		if evidence[i], err = encodeEvidence(f.Evidence); err != nil {
			return nil, nil, err
		}
	}
	at := func(i int) *monitor.Finding { return findings[i] }
	micros := func(of func(p *check.Phases) time.Duration) postgres.Array {
		return postgres.BigInts(n, func(i int) int64 { return of(&at(i).Phases).Microseconds() })
	}
	return []any{
		postgres.UUIDs(n, func(i int) uuid.UUID { return at(i).Monitor.Tenant.UUID() }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return ids[i] }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return at(i).Monitor.ID }),
		postgres.BigInts(n, func(i int) int64 { return at(i).Slot }),
		postgres.Times(n, func(i int) time.Time { return at(i).StartedAt }),
		postgres.BigInts(n, func(i int) int64 { return max(at(i).Duration.Microseconds(), 0) }),
		postgres.BigInts(n, func(i int) int64 { return at(i).Lag.Microseconds() }),
		micros(func(p *check.Phases) time.Duration { return p.Resolve }),
		micros(func(p *check.Phases) time.Duration { return p.Connect }),
		micros(func(p *check.Phases) time.Duration { return p.TLS }),
		micros(func(p *check.Phases) time.Duration { return p.Processing }),
		micros(func(p *check.Phases) time.Duration { return p.Transfer }),
		postgres.NullInts(n, func(i int) int { return at(i).Status }),
		postgres.Ints(n, func(i int) int { return at(i).Confirmation }),
		postgres.Texts(n, func(i int) string { return string(at(i).Outcome) }),
		postgres.NullTexts(n, func(i int) string { return string(at(i).Cause) }),
		postgres.Texts(n, func(i int) string { return at(i).Region }),
		postgres.NullTexts(n, func(i int) string { return storable(at(i).Detail) }),
		postgres.NullTexts(n, func(i int) string { return at(i).IP }),
		postgres.NullTexts(n, func(i int) string { return evidence[i] }),
	}, ids, nil
}

// encodeEvidence gives JSON that Postgres takes: it has no way to store the character 0.
func encodeEvidence(e *check.Evidence) (string, error) {
	if e == nil {
		return "", nil
	}
	text, err := json.Marshal(e)
	if len(text) > evidenceMost {
		short := *e
		short.Body, short.Header = "", nil
		text, err = json.Marshal(short)
	}
	return strings.ReplaceAll(string(text), `\u0000`, `\ufffd`), err
}

// storable cuts what came from outside to a length that is stored, as text that Postgres takes.
func storable(text string) string {
	if len(text) > detailMost {
		text = text[:detailMost]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// rollupKey names a row of monitor_rollups.
type rollupKey struct {
	monitor.Key
	bucket time.Time
	region string
}

// rollup is what is added to one.
type rollup struct {
	up, degraded, down, notChecked, late, missed int
	duration                                     time.Duration
	latency, lag                                 histogram.Counts
}

const (
	rollupStep = 5 * time.Minute
	lateFrom   = time.Second // a check that began so long after its slot's moment is late
)

// add counts a slot's own check. Confirmations are no promised checks; only their outcome counts.
func (r *rollup) add(f *monitor.Finding) {
	switch f.Outcome {
	case check.Up:
		r.up++
	case check.Degraded:
		r.degraded++
	case check.Down:
		r.down++
	case check.NotChecked:
		r.notChecked++
	}
	r.lag.Add(f.Lag)
	if f.Lag >= lateFrom {
		r.late++
	}
	if f.Outcome == check.Up || f.Outcome == check.Degraded {
		r.duration += f.Duration
		r.latency.Add(f.Duration)
	}
}

// rollups gathers what a transaction adds.
type rollups map[rollupKey]*rollup

func (all rollups) of(m *monitor.Monitor, region string, at time.Time) *rollup {
	key := rollupKey{m.Key, at.UTC().Truncate(rollupStep), region}
	r := all[key]
	if r == nil {
		r = &rollup{}
		all[key] = r
	}
	return r
}

const addRollups = `
INSERT INTO monitor_rollups AS r (tenant_id, monitor_id, step, bucket, region, up, degraded, down, not_checked, late, missed, duration_us, latency, lag)
VALUES ($1, $2, '5m', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (tenant_id, monitor_id, step, bucket, region) DO UPDATE SET
    up = r.up + excluded.up, degraded = r.degraded + excluded.degraded, down = r.down + excluded.down, not_checked = r.not_checked + excluded.not_checked,
    late = r.late + excluded.late, missed = r.missed + excluded.missed, duration_us = r.duration_us + excluded.duration_us,
    latency = beaconpost_add_counts(r.latency, excluded.latency), lag = beaconpost_add_counts(r.lag, excluded.lag)`

// store adds all of them, in the order of their keys. Whoever does holds the locks of the monitors' states.
func (all rollups) store(batch *pgx.Batch, now time.Time) {
	keys := make([]rollupKey, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b rollupKey) int {
		if c := compareKeys(a.Key, b.Key); c != 0 {
			return c
		}
		if c := a.bucket.Compare(b.bucket); c != 0 {
			return c
		}
		return strings.Compare(a.region, b.region)
	})
	var hours []rollupKey
	for _, key := range keys {
		r := all[key]
		batch.Queue(addRollups, key.Tenant.UUID(), key.ID, key.bucket, key.region, r.up, r.degraded, r.down, r.notChecked, r.late, r.missed,
			r.duration.Microseconds(), trimmed(r.latency[:]), trimmed(r.lag[:]))
		// What comes so late is in an hour that nobody rolls up again.
		hour := rollupKey{key.Key, key.bucket.Truncate(time.Hour), key.region}
		if hour.bucket.Before(now.UTC().Truncate(time.Hour).Add(-RolledBack)) && !slices.Contains(hours, hour) {
			hours = append(hours, hour)
		}
	}
	for _, h := range hours {
		batch.Queue(rollUpHour, h.Tenant.UUID(), h.ID, h.bucket, h.region)
	}
}

const rollUpHour = `
INSERT INTO monitor_rollups AS r (tenant_id, monitor_id, step, bucket, region, up, degraded, down, not_checked, late, missed, duration_us, latency, lag)
SELECT tenant_id, monitor_id, '1h', $3, region, sum(up), sum(degraded), sum(down), sum(not_checked), sum(late), sum(missed), sum(duration_us),
    beaconpost_sum_counts(latency), beaconpost_sum_counts(lag)
FROM monitor_rollups WHERE tenant_id = $1 AND monitor_id = $2 AND step = '5m' AND bucket >= $3 AND bucket < $3::timestamptz + interval '1 hour' AND region = $4
GROUP BY tenant_id, monitor_id, region
ON CONFLICT (tenant_id, monitor_id, step, bucket, region) DO UPDATE SET
    up = excluded.up, degraded = excluded.degraded, down = excluded.down, not_checked = excluded.not_checked, late = excluded.late, missed = excluded.missed,
    duration_us = excluded.duration_us, latency = excluded.latency, lag = excluded.lag`

// RolledBack is how far back whole hours are rolled up again and again.
const RolledBack = 3 * time.Hour

// trimmed leaves out the zeros at the end.
func trimmed(counts []int64) []int64 {
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	return counts
}

func compareKeys(a, b monitor.Key) int {
	if c := bytes.Compare(a.Tenant[:], b.Tenant[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}
