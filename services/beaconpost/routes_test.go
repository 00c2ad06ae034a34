package beaconpost_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
)

// These tests walk every route that the OpenAPI documents name, so that a new one is checked, or fails, without anybody remembering it.

type (
	schema struct {
		Ref        string            `json:"$ref"`
		Format     string            `json:"format"`
		Properties map[string]schema `json:"properties"`
		Items      *schema           `json:"items"`
	}
	parameter struct {
		Name   string `json:"name"`
		In     string `json:"in"`
		Schema schema `json:"schema"`
	}
	operation struct {
		ID          string      `json:"operationId"`
		Parameters  []parameter `json:"parameters"`
		RequestBody struct {
			Content map[string]struct {
				Schema schema `json:"schema"`
			} `json:"content"`
		} `json:"requestBody"`

		Security []map[string][]string `json:"security"`

		method, path string
		schemas      map[string]schema
	}
	document struct {
		Paths      map[string]map[string]*operation `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
)

// operations reads the documents of all services.
func operations(t *testing.T, url string) []*operation {
	t.Helper()
	var all []*operation
	for _, service := range []string{"ingest", "delivery", "monitor"} {
		status, text := get(t, url+"/openapi/"+service+".json")
		require.Equal(t, 200, status, service)
		var d document
		require.NoError(t, json.Unmarshal([]byte(text), &d))
		for path, methods := range d.Paths {
			for method, op := range methods {
				op.method, op.path, op.schemas = strings.ToUpper(method), path, d.Components.Schemas
				require.True(t, strings.HasPrefix(path, "/v1/"), path)
				all = append(all, op)
			}
		}
	}
	require.True(t, slices.ContainsFunc(all, func(op *operation) bool { return op.ID == "create-event" }), "the documents were not read")
	require.True(t, slices.ContainsFunc(all, func(op *operation) bool { return op.ID == "get-delivery" }), "the documents were not read")
	for _, op := range all {
		require.Equal(t, slices.Contains([]string{"public-keys", "get-heartbeat", "head-heartbeat", "post-heartbeat", "get-heartbeat-kind", "head-heartbeat-kind", "post-heartbeat-kind"}, op.ID), op.public(), op.ID)
	}
	return all
}

// ids lists what of the operation's input is an id: "path.id", "query.event_id", "body.project_id".
func (op *operation) ids() []string {
	var found []string
	for _, p := range op.Parameters {
		if isID(p.Name, p.Schema) {
			found = append(found, p.In+"."+p.Name)
		}
	}
	for _, content := range op.RequestBody.Content {
		found = append(found, op.idsOf("body", content.Schema, 0)...)
	}
	return found
}

func (op *operation) idsOf(at string, s schema, depth int) (found []string) {
	if depth > 5 { // a schema that contains itself
		return nil
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = op.schemas[name]
	}
	for name, property := range s.Properties {
		if isID(name, property) {
			found = append(found, at+"."+name)
		}
		found = append(found, op.idsOf(at+"."+name, property, depth+1)...)
	}
	if s.Items != nil {
		found = append(found, op.idsOf(at+"[]", *s.Items, depth+1)...)
	}
	return found
}

func isID(name string, s schema) bool {
	if name == "client_id" {
		return false // of OAuth2, at somebody else's
	}
	return s.Format == "uuid" || name == "id" || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids")
}

// target gives the path with the id in its place.
func (op *operation) target(id string) string {
	return strings.NewReplacer("{id}", id, "{check_id}", id, "{token}", "no-such-token-no-such-token-no-such", "{kind}", "start").Replace(op.path)
}

// public says whether it asks for no credential.
func (op *operation) public() bool { return len(op.Security) == 0 }

// ofMonitors says whether monitors:read is a scope of it.
func (op *operation) ofMonitors() bool {
	return slices.ContainsFunc([]string{"/v1/monitors", "/v1/incidents", "/v1/maintenance-windows", "/v1/alert-"}, func(prefix string) bool { return strings.HasPrefix(op.path, prefix) })
}

// marker is in everything that tenant A has, so that any answer that shows some of it is found.
const marker = "belongs-to-tenant-a"

// walk is an `up` with tenant A, who has one of everything, and tenant B, who tries to get at it.
type walk struct {
	*instance
	db                     *pgtest.Database
	ops                    []*operation
	a, b                   servicetest.Client
	bID                    string // tenant
	ownID                  string // an endpoint of B
	ownMonitor, ownChannel string

	tenant, project, endpoint, key, event, delivery string // of A
	monitor, incident, window, channel, policy      string
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	db, environ := servers(t)
	w := &walk{instance: up(t, t.TempDir(), environ), db: db}
	w.ops = operations(t, w.URL)
	operator := w.operator()
	var created struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	create := func(c servicetest.Client, path string, body any) string {
		c.Do(http.MethodPost, path, body).Want(201, &created)
		return created.ID
	}
	client := func(name string) (id string, c servicetest.Client) {
		id = create(operator, "/v1/tenants", map[string]string{"name": name})
		return id, servicetest.Client{T: t, URL: w.URL, Token: created.APIKey}
	}
	w.tenant, w.a = client(marker)
	w.bID, w.b = client("tenant b")
	w.ownID = create(w.b, "/v1/endpoints", map[string]any{"url": "https://example.com/"})

	w.project = create(w.a, "/v1/projects", map[string]any{"name": marker})
	w.key = create(w.a, "/v1/api-keys", map[string]any{"name": marker})
	w.a.Do(http.MethodPut, "/v1/projects/"+w.project+"/retry-policy", map[string]any{"max_age": "2000h"}).Want(200, nil)
	// One attempt fails; the next comes long after the test, so that nothing changes by itself.
	w.endpoint = create(w.a, "/v1/endpoints", map[string]any{
		"url": "http://127.0.0.1:" + freePort(t) + "/" + marker, "project_id": w.project, "retry": map[string]any{"schedule": []string{"10h"}},
	})
	var accepted struct {
		ID string `json:"id"`
	}
	w.a.Do(http.MethodPost, "/v1/events", map[string]any{
		"event_type": "order.paid", "payload": marker, "project_id": w.project, "endpoint_id": w.endpoint,
	}, "Idempotency-Key", marker).Want(202, &accepted)
	w.event = accepted.ID
	w.await("an attempt failed", func() bool { return deliveryOf(w.a, w.event).Attempts == 1 })
	w.delivery = deliveryOf(w.a, w.event).ID
	w.await("the failure was noted", func() bool {
		var endpoint struct{ Health struct{ Failures int } }
		w.a.Do(http.MethodGet, "/v1/endpoints/"+w.endpoint, nil).Want(200, &endpoint)
		return endpoint.Health.Failures == 1
	})
	w.watched(create)
	return w
}

// watched gives A something that is watched, and B a monitor. They are paused, and whatever follows from making them has happened.
func (w *walk) watched(create func(c servicetest.Client, path string, body any) string) {
	w.t.Helper()
	body := map[string]any{"name": marker, "kind": "http", "url": "http://127.0.0.1:9/" + marker, "paused": true}
	w.monitor, w.ownMonitor = create(w.a, "/v1/monitors", body), create(w.b, "/v1/monitors", map[string]any{"name": "b", "kind": "http", "url": "http://127.0.0.1:9/", "paused": true})
	w.incident = create(w.a, "/v1/incidents", map[string]any{"title": marker, "monitor_id": w.monitor})
	w.a.Do(http.MethodPost, "/v1/incidents/"+w.incident+"/notes", map[string]any{"author": marker, "text": marker}).Want(201, nil)
	w.window = create(w.a, "/v1/maintenance-windows", map[string]any{"name": marker, "starts_at": "2036-01-01T00:00:00Z", "ends_at": "2036-01-02T00:00:00Z", "monitors": []string{w.monitor}})
	w.ownChannel = create(w.b, "/v1/alert-channels", map[string]any{"name": "b", "kind": "email", "email": map[string]any{"to": []string{"b@example.com"}}})
	w.channel = create(w.a, "/v1/alert-channels", map[string]any{"name": marker, "kind": "email", "email": map[string]any{"to": []string{marker + "@example.com"}}})
	w.policy = create(w.a, "/v1/alert-policies", map[string]any{"name": marker, "steps": []any{map[string]any{"channels": []string{w.channel}}}})
	super := w.db.URL(pgcluster.Superuser)
	query(w.t, super, `UPDATE alert_policies SET created_at = now() - interval '2 minutes' RETURNING name`) // when it has taken up the incident, that is noted
	const settled = `
SELECT (SELECT count(*) FROM monitor_states WHERE status <> 'paused' OR look_at IS NOT NULL)::text || (SELECT count(*) FROM incidents WHERE untold <> '{}')
    || (SELECT count(*) FROM alert_policies WHERE joined_at IS NULL) || (SELECT count(*) FROM alert_progress WHERE look_at IS NOT NULL)`
	w.await("the monitors are paused, and the policy has taken up the incident", func() bool { return query(w.t, super, settled)[0] == "0000" })
}

// everythingOfA reads all rows of tenant A, past the API and past row-level security.
func (w *walk) everythingOfA() map[string][]string {
	w.t.Helper()
	super := w.db.URL(pgcluster.Superuser)
	const tables = `SELECT table_name::text FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant_id'`
	rows := map[string][]string{"tenants": query(w.t, super, `SELECT to_json(x)::text FROM tenants x WHERE id = $1`, w.tenant)}
	for _, table := range query(w.t, super, tables) {
		if slices.Contains([]string{"endpoint_stats", "tenant_usage", "monitor_usage"}, table) {
			continue // of A's own events, attempts and checks, counted within seconds or minutes
		}
		rows[table] = query(w.t, super, fmt.Sprintf(`SELECT to_json(x)::text FROM %s x WHERE tenant_id = $1 ORDER BY 1`, table), w.tenant)
	}
	for _, table := range []string{"tenants", "projects", "api_keys", "endpoints", "endpoint_secrets", "retry_policies", "idempotency_keys", "webhook_events", "deliveries", "delivery_attempts", "monitors", "monitor_states",
		"monitor_intervals", "incidents", "incident_notes", "maintenance_windows", "alert_channels", "alert_policies", "alert_progress", "notifications"} {
		require.NotEmptyf(w.t, rows[table], "tenant A has nothing in %s to be robbed of", table)
	}
	return rows
}

// foreign is a request of B with an id of A: where the id goes, what goes with it, and what must come back.
type foreign struct {
	id   string
	want int
	body map[string]any
	own  string // an id of B for the path, if the id of A goes elsewhere
}

// robberies has an entry for everything in any route's input that is an id. A new route fails the test until it is here.
func (w *walk) robberies() map[string]foreign {
	event := map[string]any{"event_type": "order.paid", "payload": 1}
	monitor := map[string]any{"name": "x", "kind": "http", "url": "https://example.com/"}
	window := map[string]any{"name": "x", "starts_at": "2036-01-01T00:00:00Z", "ends_at": "2036-01-02T00:00:00Z"}
	channel := map[string]any{"name": "x", "kind": "email", "email": map[string]any{"to": []string{"x@example.com"}}}
	robberies := map[string]foreign{
		"get-event path.id":                   {id: w.event, want: 404},
		"get-event-payload path.id":           {id: w.event, want: 404},
		"create-event body.endpoint_id":       {id: w.endpoint, want: 422, body: event},
		"create-event body.project_id":        {id: w.project, want: 422, body: event},
		"create-event body.tenant_id":         {id: w.tenant, want: 403, body: event},
		"get-endpoint path.id":                {id: w.endpoint, want: 404},
		"update-endpoint path.id":             {id: w.endpoint, want: 404, body: map[string]any{"status": "disabled"}},
		"update-endpoint body.project_id":     {id: w.project, want: 422, own: w.ownID},
		"recover-endpoint path.id":            {id: w.endpoint, want: 404, body: map[string]any{"since": "2026-11-24T00:00:00Z"}},
		"explain-event path.id":               {id: w.event, want: 404},
		"endpoint-stats path.id":              {id: w.endpoint, want: 404},
		"test-endpoint path.id":               {id: w.endpoint, want: 404},
		"public-keys path.id":                 {id: w.endpoint, want: 200}, // of anybody, and A has none
		"delete-endpoint path.id":             {id: w.endpoint, want: 404},
		"reveal-secret path.id":               {id: w.endpoint, want: 404},
		"rotate-secret path.id":               {id: w.endpoint, want: 404, body: map[string]any{"overlap": "0s"}},
		"create-endpoint body.project_id":     {id: w.project, want: 422, body: map[string]any{"url": "https://example.com/"}},
		"list-endpoints query.project_id":     {id: w.project, want: 200},
		"revoke-api-key path.id":              {id: w.key, want: 404},
		"get-tenant path.id":                  {id: w.tenant, want: 403},
		"get-tenant-usage path.id":            {id: w.tenant, want: 403},
		"get-project-retry-policy path.id":    {id: w.project, want: 404},
		"put-project-retry-policy path.id":    {id: w.project, want: 404, body: map[string]any{"max_attempts": 1}},
		"delete-project-retry-policy path.id": {id: w.project, want: 404},
		"get-delivery path.id":                {id: w.delivery, want: 404},
		"retry-delivery path.id":              {id: w.delivery, want: 404},
		"cancel-delivery path.id":             {id: w.delivery, want: 404},
		"list-deliveries query.event_id":      {id: w.event, want: 200},
		"list-deliveries query.endpoint_id":   {id: w.endpoint, want: 200},

		"create-monitor body.project_id":     {id: w.project, want: 422, body: monitor},
		"list-monitors query.project_id":     {id: w.project, want: 200},
		"preview-monitor query.id":           {id: w.monitor, want: 404, body: monitor},
		"preview-monitor body.project_id":    {id: w.project, want: 422, body: monitor},
		"replace-monitor path.id":            {id: w.monitor, want: 404, body: monitor},
		"replace-monitor body.project_id":    {id: w.project, want: 422, body: monitor, own: w.ownMonitor},
		"update-monitor path.id":             {id: w.monitor, want: 404, body: map[string]any{"paused": false}},
		"get-check path.check_id":            {id: w.monitor, want: 404, own: w.ownMonitor},
		"scrape-monitors query.project_id":   {id: w.project, want: 200},
		"list-incidents query.monitor_id":    {id: w.monitor, want: 200},
		"open-incident body.monitor_id":      {id: w.monitor, want: 422, body: map[string]any{"title": "x"}},
		"acknowledge-incident path.id":       {id: w.incident, want: 404, body: map[string]any{"by": "x"}},
		"add-incident-note path.id":          {id: w.incident, want: 404, body: map[string]any{"author": "x", "text": "x"}},
		"replace-maintenance-window path.id": {id: w.window, want: 404, body: window},
		"replace-alert-channel path.id":      {id: w.channel, want: 404, body: channel},
		"replace-alert-policy path.id":       {id: w.policy, want: 404, body: map[string]any{"name": "x", "steps": []any{map[string]any{"channels": []string{w.ownChannel}}}}},
	}
	for id, routes := range map[string][]string{
		w.monitor:  {"get-monitor", "delete-monitor", "pause-monitor", "resume-monitor", "check-monitor", "list-checks", "get-check", "list-intervals", "monitor-uptime", "monitor-latency", "monitor-schedule"},
		w.incident: {"get-incident", "resolve-incident"},
		w.window:   {"get-maintenance-window", "delete-maintenance-window"},
		w.channel:  {"get-alert-channel", "delete-alert-channel", "test-alert-channel"},
		w.policy:   {"get-alert-policy", "delete-alert-policy"},
	} {
		for _, route := range routes {
			robberies[route+" path.id"] = foreign{id: id, want: 404}
		}
	}
	return robberies
}

// send makes the request with id in the place that input names.
func (f foreign) send(c servicetest.Client, op *operation, input, id string) servicetest.Answer {
	c.T.Helper()
	body := maps.Clone(f.body)
	path := op.target(f.own)
	switch where, name, _ := strings.Cut(input, "."); where {
	case "path":
		path = op.target(id)
		if name != "id" { // another one of the path's
			path = strings.ReplaceAll(strings.Replace(op.path, "{id}", f.own, 1), "{"+name+"}", id)
		}
	case "query":
		path += "?" + name + "=" + id
	case "body":
		if body == nil {
			body = map[string]any{}
		}
		body[name] = id
	}
	require.NotContains(c.T, path, "{", "a parameter that this test does not fill")
	if body == nil {
		return c.Do(op.method, path, nil)
	}
	return c.Do(op.method, path, body)
}

func TestRoutesKeepTenantsApart(t *testing.T) {
	t.Parallel()
	w := newWalk(t)
	before := w.everythingOfA()
	robberies := w.robberies()
	for _, op := range w.ops {
		for _, input := range op.ids() {
			name := op.ID + " " + input
			f, ok := robberies[name]
			require.Truef(t, ok, "%s (%s %s) takes an id: say in robberies what another tenant's must lead to", name, op.method, op.path)
			delete(robberies, name)
			answer := f.send(w.b, op, input, f.id)
			require.Equalf(t, f.want, answer.Status, "%s: %s", name, answer.Body)
			w.requireNothingShown(name, answer)
			// What exists elsewhere cannot be told from what does not exist.
			nowhere := f.send(w.b, op, input, uuid.Must(uuid.NewV7()).String())
			require.Equal(t, nowhere.Status, answer.Status, name)
			if strings.Contains(answer.Header.Get("Content-Type"), "json") {
				require.JSONEq(t, string(nowhere.Body), string(answer.Body), name)
			} else {
				require.Equal(t, string(nowhere.Body), string(answer.Body), name)
			}
		}
		if op.method == http.MethodGet && !strings.Contains(op.path, "{") {
			answer := w.b.Do(op.method, op.path, nil)
			require.Containsf(t, []int{200, 403}, answer.Status, "%s: %s", op.ID, answer.Body)
			w.requireNothingShown(op.ID, answer)
		}
	}
	require.Empty(t, robberies, "these inputs do not exist any more")

	require.Equal(t, before, w.everythingOfA())
	// The ids were right: their owner gets at everything.
	for _, path := range []string{
		"/v1/events/" + w.event, "/v1/endpoints/" + w.endpoint, "/v1/deliveries/" + w.delivery,
		"/v1/endpoints?project_id=" + w.project, "/v1/deliveries?event_id=" + w.event, "/v1/projects", "/v1/api-keys",
		"/v1/monitors/" + w.monitor, "/v1/incidents?monitor_id=" + w.monitor, "/v1/maintenance-windows/" + w.window, "/v1/alert-channels/" + w.channel, "/v1/alert-policies/" + w.policy,
	} {
		answer := w.a.Do(http.MethodGet, path, nil).Want(200, nil)
		if !strings.Contains(path, "deliveries") { // they show ids only
			require.Contains(t, string(answer.Body), marker, path)
		}
	}
	w.a.Do(http.MethodDelete, "/v1/api-keys/"+w.key, nil).Want(204, nil)
	w.stop()
}

func (w *walk) requireNothingShown(name string, answer servicetest.Answer) {
	w.t.Helper()
	for _, secret := range []string{marker, w.tenant, w.project, w.endpoint, w.key, w.event, w.delivery, w.monitor, w.incident, w.window, w.channel, w.policy} {
		require.NotContains(w.t, string(answer.Body), secret, name)
	}
	if answer.Status == 404 {
		require.NotContains(w.t, string(answer.Body), "route_not_found", name)
	}
}

// everyRoute calls each route with ids of A and a body that would be accepted as far as it goes.
func (w *walk) everyRoute(c servicetest.Client, check func(name string, answer servicetest.Answer)) {
	w.t.Helper()
	w.routes(c, func(*operation) bool { return true }, check)
}

func (w *walk) routes(c servicetest.Client, which func(*operation) bool, check func(name string, answer servicetest.Answer)) {
	w.t.Helper()
	robberies := w.robberies()
	for _, op := range w.ops {
		if op.public() || !which(op) {
			continue
		}
		f := robberies[op.ID+" path.id"]
		f.own = f.id
		check(op.ID, f.send(c, op, "", ""))
	}
}

func TestRoutesDemandACredential(t *testing.T) {
	t.Parallel()
	w := newWalk(t)
	before := w.everythingOfA()
	_, environ := servers(t)
	elsewhere := up(t, t.TempDir(), environ)
	for name, token := range map[string]string{
		"none":                         "",
		"garbage":                      "garbage",
		"a key that nobody has":        "bp_" + strings.Repeat("A", len(w.b.Token)-len("bp_")),
		"a key cut short":              w.b.Token[:len(w.b.Token)-1],
		"no JWT":                       "a.b.c",
		"a key of another place":       elsewhere.APIKey,
		"a token of another place":     run(t, nil, "token", "--data-dir", elsewhere.dir, "--tenant", w.bID).line(),
		"an operator of another place": elsewhere.operator().Token,
	} {
		w.everyRoute(servicetest.Client{T: t, URL: w.URL, Token: token}, func(route string, answer servicetest.Answer) {
			require.Equalf(t, 401, answer.Status, "%s with %s: %s", route, name, answer.Body)
			require.Equal(t, "application/problem+json", answer.Header.Get("Content-Type"))
			require.Contains(t, answer.Header.Get("WWW-Authenticate"), "Bearer")
			w.requireNothingShown(route, answer)
		})
	}
	require.Equal(t, before, w.everythingOfA())
	elsewhere.stop()
	w.stop()
}

func TestRoutesDemandAScope(t *testing.T) {
	t.Parallel()
	w := newWalk(t)
	before := w.everythingOfA()
	operators := map[string]bool{"create-tenant": true, "list-tenants": true, "get-tenant": true, "get-tenant-usage": true, "list-tenant-usage": true}
	// Of tenant A itself, with a scope that is none of these routes'.
	for scope, which := range map[string]func(*operation) bool{
		"monitors:read": func(op *operation) bool { return !op.ofMonitors() }, "deliveries:read": (*operation).ofMonitors,
	} {
		scopeless := servicetest.Client{T: t, URL: w.URL, Token: run(t, nil, "token", "--data-dir", w.dir, "--tenant", w.tenant, "--scope", scope).line()}
		w.routes(scopeless, which, func(route string, answer servicetest.Answer) {
			answer.WantProblem(403, "insufficient_scope", "")
			w.requireNothingShown(route, answer)
		})
	}
	// The operator manages tenants and does not reach into them.
	w.everyRoute(w.operator(), func(route string, answer servicetest.Answer) {
		require.Equalf(t, operators[route], answer.Status != 403, "%s: %d %s", route, answer.Status, answer.Body)
	})
	w.everyRoute(w.b, func(route string, answer servicetest.Answer) {
		if operators[route] {
			answer.WantProblem(403, "insufficient_scope", "")
		}
	})
	require.Equal(t, before, w.everythingOfA())
	w.stop()
}
