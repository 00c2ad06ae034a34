package ingest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
)

func TestEventIsStoredByteForByte(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	for _, payload := range []string{
		`{"a" : 1.0,  "b":"\u00e9\/", "a":2}`, `[ 1,2 , 3]`, `"text"`, `null`, `true`, `-0.5e+10`, `12345678901234567890123`,
		"{\n\t\"nested\": {\"deep\": [[], {}]}\n}", `"} ] , \" \\"`, `{}`,
	} {
		id := b.event(c, `{"payload" : `+payload+` , "event_type":"order.paid"}`)
		got := c.Do("GET", "/v1/events/"+id+"/payload", nil).Want(200, nil)
		require.Equal(t, payload, string(got.Body))
		require.Equal(t, "application/json", got.Header.Get("Content-Type"))
	}
}

func TestBadEventsAreRefusedAndNothingIsStored(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_MAX_PAYLOAD=1KiB")
	_, c := b.tenant("acme")
	other, foreign := b.tenant("other")
	theirs := b.endpoint(foreign, map[string]any{})
	big := `"` + strings.Repeat("x", 1023) + `"`
	for name, tt := range map[string]struct {
		body, code, field string
		status            int
		headers           []string
	}{
		"empty":             {"", "invalid_json", "", 400, nil},
		"bad JSON":          {`{"event_type":"a","payload":{}`, "invalid_json", "", 400, nil},
		"two values":        {`{} {}`, "invalid_json", "", 400, nil},
		"not UTF-8":         {"{\"event_type\":\"a\",\"payload\":\"\xff\"}", "invalid_json", "", 400, nil},
		"array":             {`[]`, "wrong_type", "", 422, nil},
		"missing type":      {`{"payload":{}}`, "missing_field", "event_type", 422, nil},
		"missing payload":   {`{"event_type":"a"}`, "missing_field", "payload", 422, nil},
		"unknown field":     {`{"event_type":"a","payload":{},"evnt":1}`, "unknown_field", "evnt", 422, nil},
		"case matters":      {`{"Event_Type":"a","payload":{}}`, "unknown_field", "Event_Type", 422, nil},
		"twice":             {`{"event_type":"a","payload":{},"payload":1}`, "duplicate_field", "payload", 422, nil},
		"type of type":      {`{"event_type":1,"payload":{}}`, "wrong_type", "event_type", 422, nil},
		"name of type":      {`{"event_type":"order paid","payload":{}}`, "invalid_event_type", "event_type", 422, nil},
		"pattern as type":   {`{"event_type":"order.*","payload":{}}`, "invalid_event_type", "event_type", 422, nil},
		"type of endpoint":  {`{"event_type":"a","payload":{},"endpoint_id":7}`, "wrong_type", "endpoint_id", 422, nil},
		"not a UUID":        {`{"event_type":"a","payload":{},"endpoint_id":"abc"}`, "wrong_type", "endpoint_id", 422, nil},
		"unknown endpoint":  {`{"event_type":"a","payload":{},"endpoint_id":"` + uuid.NewString() + `"}`, "unknown_endpoint", "endpoint_id", 422, nil},
		"foreign endpoint":  {`{"event_type":"a","payload":{},"endpoint_id":"` + theirs.ID + `"}`, "unknown_endpoint", "endpoint_id", 422, nil},
		"unknown project":   {`{"event_type":"a","payload":{},"project_id":"` + uuid.NewString() + `"}`, "unknown_project", "project_id", 422, nil},
		"foreign tenant":    {`{"event_type":"a","payload":{},"tenant_id":"` + other.String() + `"}`, "tenant_mismatch", "tenant_id", 403, nil},
		"payload too large": {`{"event_type":"a","payload":` + big + `}`, "payload_too_large", "payload", 413, nil},
		"body too large":    {`{"event_type":"a","payload":"` + strings.Repeat("x", 100<<10) + `"}`, "payload_too_large", "payload", 413, nil},
		"media type":        {`{}`, "unsupported_media_type", "", 415, []string{"Content-Type", "text/plain"}},
		"encoding":          {`{}`, "unsupported_content_encoding", "", 415, []string{"Content-Encoding", "gzip"}},
		"empty key":         {`{"event_type":"a","payload":{}}`, "invalid_idempotency_key", "Idempotency-Key", 422, []string{"Idempotency-Key", ""}},
		"key with spaces":   {`{"event_type":"a","payload":{}}`, "invalid_idempotency_key", "Idempotency-Key", 422, []string{"Idempotency-Key", "a b"}},
		"key too long":      {`{"event_type":"a","payload":{}}`, "invalid_idempotency_key", "Idempotency-Key", 422, []string{"Idempotency-Key", strings.Repeat("k", 256)}},
	} {
		c.Do("POST", "/v1/events", tt.body, tt.headers...).WantProblem(tt.status, tt.code, tt.field)
		_ = name
	}
	require.Equal(t, []string{"0 0 0"}, b.Rows(`SELECT (SELECT count(*) FROM webhook_events) || ' ' || (SELECT count(*) FROM deliveries) || ' ' || (SELECT count(*) FROM idempotency_keys)`))
}

func TestPayloadOfExactlyTheLimitIsAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_MAX_PAYLOAD=1KiB")
	_, c := b.tenant("acme")
	b.event(c, `{"event_type":"a","payload":"`+strings.Repeat("x", 1022)+`"}`)
}

func TestOwnTenantIDMayBeGiven(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	b.event(c, map[string]any{"event_type": "a", "payload": 1, "tenant_id": id.String(), "endpoint_id": nil, "project_id": nil})
}

func TestFanOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	var project struct{ ID string }
	c.Do("POST", "/v1/projects", map[string]string{"name": "shop"}).Want(201, &project)
	all := b.endpoint(c, map[string]any{})
	exact := b.endpoint(c, map[string]any{"event_types": []string{"order.paid", "user.created"}})
	prefix := b.endpoint(c, map[string]any{"event_types": []string{"order.*"}})
	inProject := b.endpoint(c, map[string]any{"project_id": project.ID})
	disabled := b.endpoint(c, map[string]any{"status": "disabled", "event_types": []string{"parked", "x.new"}})
	_, foreign := b.tenant("other")
	b.endpoint(foreign, map[string]any{})

	for _, tt := range []struct {
		name  string
		event map[string]any
		want  []endpointView
	}{
		{"exact and prefix", map[string]any{"event_type": "order.paid"}, []endpointView{all, exact, prefix}},
		{"below the prefix", map[string]any{"event_type": "order.item.added"}, []endpointView{all, prefix}},
		{"prefix is not its own child", map[string]any{"event_type": "order"}, []endpointView{all}},
		{"similar name", map[string]any{"event_type": "orders.paid"}, []endpointView{all}},
		{"of a project", map[string]any{"event_type": "x", "project_id": project.ID}, []endpointView{all, inProject}},
		{"disabled: kept", map[string]any{"event_type": "parked"}, []endpointView{all, disabled}},
		{"named, past its filter", map[string]any{"event_type": "x", "endpoint_id": exact.ID}, []endpointView{exact}},
	} {
		tt.event["payload"] = map[string]any{}
		id := b.event(c, tt.event)
		var want []string
		for _, e := range tt.want {
			want = append(want, e.ID)
		}
		require.ElementsMatch(t, want, b.Rows(`SELECT endpoint_id::text FROM deliveries WHERE event_id = $1`, id), tt.name)
	}
	// A change is seen by the very next event, from whichever process it comes.
	c.Do("PATCH", "/v1/endpoints/"+disabled.ID, `{"status":"enabled","event_types":[]}`).Want(200, nil)
	c.Do("PATCH", "/v1/endpoints/"+all.ID, `{"event_types":["nothing.else"]}`).Want(200, nil)
	id := b.event(c, `{"event_type":"x","payload":1}`)
	require.Equal(t, []string{disabled.ID}, b.Rows(`SELECT endpoint_id::text FROM deliveries WHERE event_id = $1`, id))
}

func TestARoutingChangeMadeElsewhereIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	b.event(c, `{"event_type":"x","payload":1}`) // fills the first process's cache
	first := c
	b.start() // a second process on the same database
	_ = b.endpoint(b.client(first.Token), map[string]any{})
	id := b.event(first, `{"event_type":"x","payload":1}`)
	require.Len(t, b.Rows(`SELECT endpoint_id::text FROM deliveries WHERE event_id = $1`, id), 1)
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	_, other := b.tenant("other")
	b.endpoint(c, map[string]any{})
	body := `{"event_type":"x","payload":1}`
	first := b.event(c, body, "Idempotency-Key", "k1")
	again := c.Do("POST", "/v1/events", body, "Idempotency-Key", "k1").Want(202, nil)
	require.Contains(t, string(again.Body), first)
	require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"))
	c.Do("POST", "/v1/events", `{"event_type":"x","payload":2}`, "Idempotency-Key", "k1").WantProblem(409, "idempotency_key_reused", "Idempotency-Key")
	require.NotEqual(t, first, b.event(c, body, "Idempotency-Key", "k2"))
	require.NotEqual(t, first, b.event(other, body, "Idempotency-Key", "k1"), "keys are a tenant's own")
	require.Equal(t, []string{"2"}, b.Rows(`SELECT count(*)::text FROM deliveries`))
}

func TestSameKeyAtTheSameTimeMakesOneEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	b.endpoint(c, map[string]any{})
	const callers = 40
	ids := make([]string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			// Different orders of many keys in one flush must not deadlock either.
			for k := range 5 {
				key := fmt.Sprint("key-", (i+k)%5)
				id := b.event(c, `{"event_type":"x","payload":1}`, "Idempotency-Key", key)
				if key == "key-0" {
					ids[i] = id
				}
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.Equal(t, []string{"5"}, b.Rows(`SELECT count(*)::text FROM webhook_events`))
	require.Equal(t, []string{"5"}, b.Rows(`SELECT count(*)::text FROM deliveries`))
}

func TestEventsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	var ids []string
	for i := range 7 {
		ids = append([]string{b.event(c, fmt.Sprintf(`{"event_type":"order.n%d","payload":%d}`, i%2, i))}, ids...)
	}
	type page struct {
		Data []struct {
			ID        string `json:"id"`
			EventType string `json:"event_type"`
			CreatedAt string `json:"created_at"`
		}
		NextCursor string `json:"next_cursor"`
	}
	var got []string
	cursor := ""
	for range 3 {
		var p page
		c.Do("GET", "/v1/events?limit=3&cursor="+cursor, nil).Want(200, &p)
		for _, e := range p.Data {
			got = append(got, e.ID)
		}
		cursor = p.NextCursor
	}
	require.Equal(t, ids, got)
	require.Empty(t, cursor)

	var p page
	c.Do("GET", "/v1/events?event_type=order.n1", nil).Want(200, &p)
	require.Len(t, p.Data, 3)
	c.Do("GET", "/v1/events?event_type=order.*", nil).Want(200, &p)
	require.Len(t, p.Data, 7)
	c.Do("GET", "/v1/events?created_before=2020-01-01T00:00:00Z", nil).Want(200, &p)
	require.Empty(t, p.Data)
	c.Do("GET", "/v1/events?created_after=2020-01-01T00:00:00Z", nil).Want(200, &p)
	require.Len(t, p.Data, 7)
	c.Do("GET", "/v1/events?cursor=zzz", nil).WantProblem(422, "invalid_cursor", "cursor")
	c.Do("GET", "/v1/events?limit=0", nil).WantProblem(422, "invalid_request", "limit")
	c.Do("GET", "/v1/events?typo=1", nil).WantProblem(422, "invalid_request", "typo")
	c.Do("GET", "/v1/events?limit=%zz", nil).WantProblem(400, "malformed_query", "")
	c.Do("GET", "/v1/events?limit=1&limit=2", nil).WantProblem(422, "duplicate_parameter", "limit")
	c.Do("GET", "/v1/events?event_type=%00", nil).WantProblem(422, "invalid_request", "event_type")
	c.Do("GET", "/v1/events?created_after=yesterday", nil).WantProblem(422, "invalid_request", "created_after")
	c.Do("GET", "/v1/events/"+uuid.NewString(), nil).WantProblem(404, "event_not_found", "")
	c.Do("GET", "/v1/events/7", nil).WantProblem(422, "invalid_request", "id")
}

func TestCredentialsAndScopes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	body := `{"event_type":"x","payload":1}`
	b.client("").Do("POST", "/v1/events", body).WantProblem(401, "missing_credentials", "")
	b.client("bp_"+strings.Repeat("A", 32)).Do("POST", "/v1/events", body).WantProblem(401, "invalid_credentials", "")
	b.client("nonsense").Do("GET", "/v1/endpoints", nil).WantProblem(401, "invalid_credentials", "")
	b.client(b.Token(id, auth.ScopeEventsRead)).Do("POST", "/v1/events", body).WantProblem(403, "insufficient_scope", "")
	b.client(b.Token(id, auth.ScopeEventsWrite)).Do("POST", "/v1/events", body).Want(202, nil)
	require.Equal(t, 403, b.operator.Do("POST", "/v1/events", body).Status)
	require.Equal(t, 403, c.Do("GET", "/v1/tenants", nil).Status)
	b.client(b.Token([16]byte(uuid.Must(uuid.NewV7())))).Do("POST", "/v1/events", body).WantProblem(403, "unknown_tenant", "")
	for _, path := range []string{"/openapi/ingest.json", "/docs/ingest"} {
		b.client("").Do("GET", path, nil).Want(200, nil)
	}
	b.client("").Do("GET", "/v1/nothing", nil).WantProblem(404, "route_not_found", "")
	refused := b.client("").Do("DELETE", "/v1/events", nil)
	refused.WantProblem(405, "method_not_allowed", "")
	require.Equal(t, "GET, POST", refused.Header.Get("Allow"))
}

func TestExplain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	wanted := b.endpoint(c, map[string]any{})
	other := b.endpoint(c, map[string]any{"event_types": []string{"user.*"}})
	off := b.endpoint(c, map[string]any{"status": "disabled"})
	gone := b.endpoint(c, map[string]any{})
	id := b.event(c, `{"event_type":"order.paid","payload":1}`)
	time.Sleep(2 * time.Millisecond)
	later := b.endpoint(c, map[string]any{})
	c.Do("DELETE", "/v1/endpoints/"+gone.ID, nil).Want(200, nil)
	type entry struct {
		EndpointID string `json:"endpoint_id"`
		Status     string
		Matched    bool
		Why        string
		WaitingFor string `json:"waiting_for"`
		Delivery   *struct {
			Status       string
			CancelReason string `json:"cancel_reason"`
		}
	}
	var page struct {
		Data       []entry
		NextCursor string `json:"next_cursor"`
	}
	var all []entry
	for path := "/v1/events/" + id + "/explain?limit=2"; ; path = "/v1/events/" + id + "/explain?limit=2&cursor=" + page.NextCursor {
		page.Data, page.NextCursor = nil, ""
		c.Do("GET", path, nil).Want(200, &page)
		all = append(all, page.Data...)
		if page.NextCursor == "" {
			break
		}
	}
	var said []string
	for _, e := range all {
		text := e.Status + " " + e.Why + " " + e.WaitingFor
		if e.Delivery != nil {
			text += " " + e.Delivery.Status + e.Delivery.CancelReason
		}
		require.Equal(t, e.Delivery != nil, e.Matched)
		said = append(said, text)
	}
	require.Equal(t, []string{
		"enabled endpoint_created_later ", "deleted event_type_wanted  cancelledendpoint_deleted", "disabled event_type_wanted endpoint_disabled pending",
		"enabled event_type_not_wanted ", "enabled event_type_wanted attempt_due pending",
	}, said)
	require.Equal(t, []string{later.ID, gone.ID, off.ID, other.ID, wanted.ID}, []string{all[0].EndpointID, all[1].EndpointID, all[2].EndpointID, all[3].EndpointID, all[4].EndpointID})

	c.Do("GET", "/v1/events/"+uuid.NewString()+"/explain", nil).WantProblem(404, "event_not_found", "")
	_, foreign := b.tenant("other")
	foreign.Do("GET", "/v1/events/"+id+"/explain", nil).WantProblem(404, "event_not_found", "")
}

func TestStats(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, c := b.tenant("acme")
	e := b.endpoint(c, map[string]any{})
	for _, values := range []string{"'2026-11-24 10:00Z', 90, 10, 90, 1, '{0,0,90}', '{0,0,0,0,90}'", "'2026-11-24 12:00Z', 9, 1, 9, 0, '{9}', '{9}'"} {
		b.Rows(`INSERT INTO endpoint_stats (tenant_id, endpoint_id, hour, attempts_succeeded, attempts_failed, delivered, exhausted, attempt_counts, latency_counts)
			VALUES ($1, $2, `+values+`) RETURNING endpoint_id::text`, tenant, e.ID)
	}
	type counts struct {
		Succeeded int64                      `json:"attempts_succeeded"`
		Failed    int64                      `json:"attempts_failed"`
		Ratio     *float64                   `json:"success_ratio"`
		Duration  *struct{ P50, P99 string } `json:"attempt_duration"`
	}
	var got struct {
		From, To time.Time
		Total    counts
		Hours    []struct {
			Hour time.Time
			counts
		}
	}
	path := "/v1/endpoints/" + e.ID + "/stats"
	c.Do("GET", path+"?from=2026-11-24T10:30:00Z&to=2026-11-24T12:00:01Z", nil).Want(200, &got)
	require.Equal(t, "2026-11-24T10:00:00Z 2026-11-24T13:00:00Z", got.From.Format(time.RFC3339)+" "+got.To.Format(time.RFC3339))
	require.Len(t, got.Hours, 2)
	require.Equal(t, int64(99), got.Total.Succeeded)
	require.InDelta(t, 0.9, *got.Total.Ratio, 0.001)
	p50, err := time.ParseDuration(got.Hours[0].Duration.P50)
	require.NoError(t, err)
	require.InDelta(t, float64(430*time.Microsecond), float64(p50), float64(80*time.Microsecond))

	got.Hours, got.Total = nil, counts{}
	c.Do("GET", path, nil).Want(200, &got)
	c.Do("GET", path+"?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z", nil).Want(200, &got)
	require.Empty(t, got.Hours)
	require.Nil(t, got.Total.Ratio)
	c.Do("GET", path+"?from=2026-01-01T00:00:00Z", nil).WantProblem(422, "invalid_range", "from")
	c.Do("GET", path+"?from=2030-01-01T00:00:00Z", nil).WantProblem(422, "invalid_range", "from")
	c.Do("GET", path+"?from=9999-12-31T00:00:00Z&to=9999-12-31T23:30:00Z", nil).WantProblem(422, "invalid_range", "from")
	c.Do("GET", path+"?from=0000-01-01T00:00:00%2B23:00&to=0000-01-01T00:00:00Z", nil).WantProblem(422, "invalid_range", "from")
	c.Do("GET", path+"?from=x", nil).WantProblem(422, "invalid_request", "from")
	_, foreign := b.tenant("other")
	foreign.Do("GET", path, nil).WantProblem(404, "endpoint_not_found", "")
}

func TestPayloadRetention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, c := b.tenant("acme")
	var got struct{ After *string }
	c.Do("GET", "/v1/payload-retention", nil).Want(200, &got)
	require.Nil(t, got.After)
	c.Do("PUT", "/v1/payload-retention", `{"after":"36h"}`).Want(200, &got)
	require.Equal(t, "36h0m0s", *got.After)
	require.Equal(t, []string{"129600000"}, b.Rows(`SELECT after_ms::text FROM payload_retention WHERE tenant_id = $1`, tenant))
	c.Do("PUT", "/v1/payload-retention", `{"after":"-1s"}`).WantProblem(422, "invalid_request", "after")
	c.Do("PUT", "/v1/payload-retention", `{"after":"9000h"}`).WantProblem(422, "invalid_payload_retention", "after")
	c.Do("PUT", "/v1/payload-retention", `{}`).WantProblem(422, "invalid_request", "after")
	id := b.event(c, `{"event_type":"x","payload":{"a":1}}`)
	b.Rows(`UPDATE webhook_events SET payload = '' WHERE id = $1 RETURNING id::text`, id) // as delivery does
	var event struct {
		Payload  any
		Scrubbed bool `json:"payload_scrubbed"`
	}
	c.Do("GET", "/v1/events/"+id, nil).Want(200, &event)
	require.True(t, event.Scrubbed)
	require.Nil(t, event.Payload)
	c.Do("GET", "/v1/events/"+id+"/payload", nil).WantProblem(404, "payload_scrubbed", "")
	c.Do("DELETE", "/v1/payload-retention", nil).Want(204, nil)
	require.Empty(t, b.Rows(`SELECT tenant_id::text FROM payload_retention`))
}
