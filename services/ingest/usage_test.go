package ingest_test

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

type usageNumbers struct {
	Events, Notices, Deliveries, Attempts, Delivered, Exhausted, Checks, Notifications int64
	EventBytes                                                                         int64 `json:"event_bytes"`
}

type usageView struct {
	From, To     time.Time
	By           string
	CountedFrom  time.Time `json:"counted_from"`
	CountedUntil time.Time `json:"counted_until"`
	ChecksUntil  time.Time `json:"checks_counted_until"`
	Total        usageNumbers
	Buckets      []struct {
		Begin      time.Time
		Open       bool
		ChecksOpen bool `json:"checks_open"`
		usageNumbers
	}
}

// lines shows buckets as a table.
func (v usageView) lines() (lines []string) {
	for _, b := range v.Buckets {
		lines = append(lines, fmt.Sprint(b.Begin.Format("02T15"), " ", b.Events, b.EventBytes, b.Deliveries, b.Checks, " ", b.Open, b.ChecksOpen))
	}
	return lines
}

func usagePath(path string, from, to time.Time, more string) string {
	return path + "?" + url.Values{"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}}.Encode() + more
}

func TestUsage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	otherID, other := b.tenant("other")
	day := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)
	at := func(hours float64) time.Time { return day.Add(time.Duration(hours * float64(time.Hour))) }
	for _, hour := range []float64{-1, 0, 1, 23, 24, 25} {
		b.Exec(`INSERT INTO tenant_usage (tenant_id, hour, events, event_bytes, deliveries) VALUES ($1, $2, 1, 10, 2)`, id.UUID(), at(hour))
	}
	b.Exec(`INSERT INTO monitor_usage (tenant_id, hour, checks) VALUES ($1, $2, 5), ($1, $3, 7)`, id.UUID(), at(1), at(2))
	b.Exec(`INSERT INTO tenant_usage (tenant_id, hour, events) VALUES ($1, $2, 1000)`, otherID.UUID(), at(1))
	b.Exec(`UPDATE usage_progress SET counted_until = $1 WHERE part = 'delivery'`, at(25))
	b.Exec(`UPDATE usage_progress SET counted_until = $1 WHERE part = 'monitor'`, at(2.5))

	var hours usageView
	c.Do("GET", usagePath("/v1/usage", at(0), at(24.5), ""), nil).Want(200, &hours)
	require.Equal(t, []string{"28T00 1 10 2 0 false false", "28T01 1 10 2 5 false false", "28T02 0 0 0 7 false true", "28T23 1 10 2 0 false true", "29T00 1 10 2 0 false true"}, hours.lines())
	require.Equal(t, usageNumbers{Events: 4, EventBytes: 40, Deliveries: 8, Checks: 12}, hours.Total)
	require.Equal(t, []time.Time{at(0), at(25), at(25), at(2.5)}, []time.Time{hours.From, hours.To, hours.CountedUntil, hours.ChecksUntil})
	require.Equal(t, "hour", hours.By)

	var days usageView
	c.Do("GET", usagePath("/v1/usage", at(0), at(25.5), "&by=day"), nil).Want(200, &days)
	require.Equal(t, []string{"28T00 3 30 6 12 false true", "29T00 2 20 4 0 true true"}, days.lines())
	require.Equal(t, []time.Time{at(0), at(48)}, []time.Time{days.From, days.To})

	// Each sees its own, the operator each.
	var foreign, asked usageView
	other.Do("GET", usagePath("/v1/usage", at(0), at(24), ""), nil).Want(200, &foreign)
	require.EqualValues(t, 1000, foreign.Total.Events)
	b.operator.Do("GET", usagePath("/v1/tenants/"+id.String()+"/usage", at(0), at(24.5), ""), nil).Want(200, &asked)
	require.Equal(t, hours, asked)
	b.operator.Do("GET", "/v1/tenants/"+uuid.NewString()+"/usage", nil).WantProblem(404, "tenant_not_found", "")
	c.Do("GET", "/v1/tenants/"+id.String()+"/usage", nil).WantProblem(403, "insufficient_scope", "")
	c.Do("GET", "/v1/tenants/usage", nil).WantProblem(403, "insufficient_scope", "")
	b.operator.Do("GET", "/v1/usage", nil).WantProblem(403, "insufficient_scope", "")
	b.client(b.Token(id, auth.ScopeUsageRead)).Do("GET", "/v1/usage", nil).Want(200, nil)
	b.client(b.Token(id, auth.ScopeEventsRead)).Do("GET", "/v1/usage", nil).WantProblem(403, "insufficient_scope", "")

	for _, bad := range []struct{ query, code, field string }{
		{"by=week", "invalid_request", "by"},
		{"from=yesterday", "invalid_request", "from"},
		{"to=1", "invalid_request", "to"},
		{"form=2026-03-28T00:00:00Z", "invalid_request", "form"},
		{"from=2026-03-28T00:00:00Z&to=2026-03-28T00:00:00Z", "invalid_range", "from"},
		{"from=2025-03-28T00:00:00Z&to=2026-03-28T00:00:00Z", "invalid_range", "from"},
		{"from=2024-03-28T00:00:00Z&to=2026-03-28T00:00:00Z&by=day", "invalid_range", "from"},
		{"from=2026-03-28T00:00:00Z&from=2026-03-29T00:00:00Z", "duplicate_parameter", "from"},
	} {
		c.Do("GET", "/v1/usage?"+bad.query, nil).WantProblem(422, bad.code, bad.field)
		b.operator.Do("GET", "/v1/tenants/"+id.String()+"/usage?"+bad.query, nil).WantProblem(422, bad.code, bad.field)
	}
}

// A schema is not migrated at the stroke of an hour: what was stored in that hour before was not counted.
func TestUsageSaysFromWhenItIsKnown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	var got usageView
	c.Do("GET", "/v1/usage", nil).Want(200, &got)
	const migrated = `SELECT (abs(extract(epoch FROM max(tstamp)::timestamptz - $1)) < 1)::text FROM goose_db_version WHERE version_id = 17`
	require.Equal(t, []string{"true"}, b.Rows(migrated, got.CountedFrom))
}

func TestUsageOfNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	_, other := b.tenant("other")
	b.endpoint(c, map[string]any{})
	// Counted until a moment ago; a row of before is not counted again.
	until := time.Now().UTC().Add(-time.Minute).Truncate(time.Microsecond)
	b.Exec(`UPDATE usage_progress SET counted_until = $1`, until)
	b.Exec(`INSERT INTO tenant_usage (tenant_id, hour, events, event_bytes) VALUES ($1, date_trunc('hour', $2::timestamptz, 'UTC'), 7, 70)`, id.UUID(), until)
	b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload, recorded_at) VALUES ($1, $2, 'order.paid', 'x', $3)`,
		id.UUID(), uuid7.Beside(uuid7.Floor(until)), until.Add(-time.Microsecond))
	b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'monitor.down', 'xyz')`, id.UUID(), uuid.Must(uuid.NewV7()))
	b.event(c, `{"event_type":"order.paid","payload":"123"}`, "Idempotency-Key", "one")
	b.event(c, `{"event_type":"order.paid","payload":"123"}`, "Idempotency-Key", "one")
	b.event(c, `{"event_type":"order.paid","payload":[ 1 ]}`)
	b.event(other, `{"event_type":"order.paid","payload":1}`)

	var got usageView
	c.Do("GET", "/v1/usage", nil).Want(200, &got)
	require.Equal(t, usageNumbers{Events: 9, EventBytes: 80, Notices: 1, Deliveries: 2}, got.Total)
	require.True(t, got.Buckets[len(got.Buckets)-1].Open)
	require.True(t, until.Equal(got.CountedUntil))

	// Counting stands still: what is counted for an answer is bounded.
	b.Exec(`UPDATE usage_progress SET counted_until = now() - interval '5 hours'`)
	got = usageView{}
	c.Do("GET", "/v1/usage", nil).Want(200, &got)
	require.EqualValues(t, 7, got.Total.Events)
}

// To count what was not counted yet takes a while. However many ask for it, the others' events have connections.
func TestUsageKeepsNobodyFromSending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, curious := b.tenant("curious")
	_, other := b.tenant("other")
	b.event(other, `{"event_type":"order.paid","payload":1}`)
	curious.Do("GET", "/v1/usage", nil).Want(200, nil)
	b.Exec(`BEGIN`)
	b.Exec(`LOCK TABLE tenant_usage IN ACCESS EXCLUSIVE MODE`)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer b.Exec(`ROLLBACK`)
	for range 20 { // twice the connections
		asking.Go(func() { curious.Do("GET", "/v1/usage", nil).Want(200, nil) })
	}
	const waiting = `SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'tenant_usage'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	require.Eventually(t, func() bool { return b.Rows(waiting)[0] >= "2" }, 10*time.Second, 5*time.Millisecond)
	for range 10 {
		b.event(other, `{"event_type":"order.paid","payload":1}`)
	}
	require.Equal(t, []string{"2"}, b.Rows(waiting))
}

func TestTopUsage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2026, 3, 28, 7, 0, 0, 0, time.UTC)
	many, _ := b.tenant("many events")
	large, _ := b.tenant("large events")
	checks, _ := b.tenant("checks")
	b.Exec(`INSERT INTO tenant_usage (tenant_id, hour, events, event_bytes, attempts) VALUES ($1, $3, 5, 10, 1), ($1, $4, 5, 10, 1), ($2, $3, 6, 100, 30), ($2, $5, 1000, 1, 1)`,
		many.UUID(), large.UUID(), at, at.Add(time.Hour), at.Add(2*time.Hour))
	b.Exec(`INSERT INTO monitor_usage (tenant_id, hour, checks, notifications) VALUES ($1, $2, 9, 1), ($3, $2, 3, 0)`, checks.UUID(), at, many.UUID())
	top := func(more string) (names []string, first usageNumbers) {
		t.Helper()
		var got struct {
			From, To time.Time
			Data     []struct {
				TenantID, Name string
				usageNumbers
			}
		}
		b.operator.Do("GET", usagePath("/v1/tenants/usage", at, at.Add(2*time.Hour), more), nil).Want(200, &got)
		require.Equal(t, []time.Time{at, at.Add(2 * time.Hour)}, []time.Time{got.From.UTC(), got.To.UTC()})
		for _, u := range got.Data {
			names = append(names, u.Name)
		}
		return names, got.Data[0].usageNumbers
	}
	names, first := top("")
	require.Equal(t, []string{"many events", "large events"}, names)
	require.Equal(t, usageNumbers{Events: 10, EventBytes: 20, Attempts: 2, Checks: 3}, first)
	names, _ = top("&sort=event_bytes&limit=1")
	require.Equal(t, []string{"large events"}, names)
	names, first = top("&sort=checks")
	require.Equal(t, "checks", names[0])
	require.Equal(t, usageNumbers{Checks: 9, Notifications: 1}, first)
	names, _ = top("&sort=attempts&limit=1")
	require.Equal(t, []string{"large events"}, names)
	b.operator.Do("GET", usagePath("/v1/tenants/usage", at.Add(time.Minute), at.Add(time.Minute).AddDate(0, 0, 31), ""), nil).Want(200, nil)
	b.operator.Do("GET", usagePath("/v1/tenants/usage", at, at.AddDate(0, 0, 32), ""), nil).WantProblem(422, "invalid_range", "from")
	for _, bad := range []struct{ query, field string }{{"sort=name", "sort"}, {"limit=0", "limit"}, {"limit=201", "limit"}, {"by=day", "by"}} {
		b.operator.Do("GET", "/v1/tenants/usage?"+bad.query, nil).WantProblem(422, "invalid_request", bad.field)
	}
}

// Deliveries are counted by what each event says of itself.
func TestAnEventSaysHowManyDeliveriesItHas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	_, none := b.tenant("nobody listens")
	for _, types := range [][]string{{"order.*"}, {"order.paid"}, nil} {
		b.endpoint(c, map[string]any{"event_types": types})
	}
	disabled := b.endpoint(c, map[string]any{"event_types": []string{"order.paid"}, "status": "disabled"})
	var posts sync.WaitGroup
	for i, eventType := range []string{"order.paid", "order.sent", "user.new", "order.paid", "order.paid"} {
		posts.Go(func() { // the last two are one
			b.event(c, map[string]any{"event_type": eventType, "payload": 1}, "Idempotency-Key", fmt.Sprint(min(i, 3)))
		})
	}
	posts.Go(func() { b.event(c, map[string]any{"event_type": "user.new", "payload": 1, "endpoint_id": disabled.ID}) })
	posts.Go(func() { b.event(none, map[string]any{"event_type": "order.paid", "payload": 1}) })
	posts.Wait()
	const fanout = `SELECT coalesce(fanout::text, 'null') || ' ' || (SELECT count(*) FROM deliveries d WHERE d.event_id = e.id) FROM webhook_events e ORDER BY 1`
	require.Equal(t, []string{"0 0", "1 1", "1 1", "2 2", "4 4", "4 4"}, b.Rows(fanout))
}

// Whatever minute is being counted meanwhile, an answer has each event once.
func TestUsageWhileItIsCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	const events = 600
	begin := time.Now().UTC().Add(-10 * time.Minute)
	b.Exec(`UPDATE usage_progress SET counted_until = $1`, begin)
	for n := range events {
		at := begin.Add(time.Duration(n) * 10 * time.Minute / events)
		b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload, recorded_at) VALUES ($1, $2, 'order.paid', 'x', $3)`, id.UUID(), uuid7.Beside(uuid7.Floor(at)), at)
	}
	const count = `
WITH moved AS (
    UPDATE usage_progress p SET counted_until = p.counted_until + interval '5 seconds' FROM usage_progress before WHERE p.part = 'delivery' AND before.part = p.part
    RETURNING before.counted_until AS low, p.counted_until AS high
)
INSERT INTO tenant_usage AS u (tenant_id, hour, events) SELECT tenant_id, date_trunc('hour', low, 'UTC'), count(*) FROM moved JOIN webhook_events ON recorded_at >= low AND recorded_at < high GROUP BY 1, 2
ON CONFLICT (tenant_id, hour) DO UPDATE SET events = u.events + excluded.events`
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 115 {
			b.Exec(count)
		}
	}()
	for reads := 0; ; reads++ {
		var got usageView
		c.Do("GET", "/v1/usage", nil).Want(200, &got)
		require.EqualValues(t, events, got.Total.Events)
		select {
		case <-done:
			require.Greater(t, reads, 5)
			return
		default:
		}
	}
}
