package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// A canary is what no log may have: it stands for payloads, secrets, tokens, and URLs with tokens in them.
const canary = "canary"

type (
	apiSchema struct {
		Ref        string               `json:"$ref"`
		Type       any                  `json:"type"`
		Format     string               `json:"format"`
		Enum       []any                `json:"enum"`
		Properties map[string]apiSchema `json:"properties"`
		Items      *apiSchema           `json:"items"`
	}
	apiOperation struct {
		Parameters []struct {
			Name, In string
			Schema   apiSchema
		} `json:"parameters"`
		RequestBody struct {
			Content map[string]struct {
				Schema apiSchema `json:"schema"`
			} `json:"content"`
		} `json:"requestBody"`
	}
	apiDocument struct {
		Paths      map[string]map[string]apiOperation `json:"paths"`
		Components struct {
			Schemas map[string]apiSchema `json:"schemas"`
		} `json:"components"`
	}
)

// value makes one that fits a schema, with a canary for each text.
func (d *apiDocument) value(name string, s apiSchema, depth int) any {
	if s.Ref != "" {
		s = d.Components.Schemas[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
	}
	kind := fmt.Sprint(s.Type)
	switch {
	case name == "event_type" || name == "type": // which is in the line of an attempt
		return "order.paid"
	case len(s.Enum) > 0:
		return s.Enum[0]
	case depth > 6:
		return nil
	case strings.Contains(kind, "object") || len(s.Properties) > 0:
		object := map[string]any{}
		for property, of := range s.Properties {
			if property != "$schema" {
				object[property] = d.value(property, of, depth+1)
			}
		}
		return object
	case strings.Contains(kind, "array") && s.Items != nil:
		if name == "event_types" {
			return []any{"order.paid"}
		}
		return []any{d.value("", *s.Items, depth+1)}
	case strings.Contains(kind, "integer"), strings.Contains(kind, "number"):
		return 1
	case strings.Contains(kind, "boolean"):
		return true
	case s.Format == "uuid":
		return uuid.NewString()
	case s.Format == "uri":
		return "https://" + canary + ":" + canary + "@127.0.0.1:1/" + canary + "?token=" + canary
	}
	return canary + "-" + name
}

// walker sends requests with canaries in every place to every route of a service.
type walker struct {
	t      *testing.T
	base   string
	tokens []string
	sent   int
	status map[int]int
}

func (w *walker) walk(service string) {
	w.t.Helper()
	raw, err := http.Get(w.base + "/openapi/" + service + ".json")
	require.NoError(w.t, err)
	defer raw.Body.Close()
	var d apiDocument
	require.NoError(w.t, json.NewDecoder(raw.Body).Decode(&d))
	require.NotEmpty(w.t, d.Paths)
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			w.route(&d, strings.ToUpper(method), path, d.Paths[path][method])
		}
	}
}

var parameterInPath = regexp.MustCompile(`\{[^}]+\}`)

func (w *walker) route(d *apiDocument, method, path string, op apiOperation) {
	query := "?" + canary + "=" + canary
	for _, p := range op.Parameters {
		if p.In == "query" {
			query += "&" + p.Name + "=" + canary
		}
	}
	var bodies []string
	for _, content := range op.RequestBody.Content {
		fitting, err := json.Marshal(d.value("", content.Schema, 0))
		require.NoError(w.t, err)
		bodies = append(bodies, string(fitting), `{"`+canary+`": "`+canary, `"`+canary+`"`, `[{"`+canary+`":"`+canary+`"}]`)
	}
	if bodies == nil {
		bodies = []string{""}
	}
	for _, in := range []string{uuid.NewString(), canary} {
		to := parameterInPath.ReplaceAllString(path, in)
		for _, token := range w.tokens {
			for _, body := range bodies {
				w.send(method, to, token, body)
			}
			w.send(method, to+query, token, bodies[0])
		}
	}
}

func (w *walker) send(method, path, token, body string) {
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	require.NoError(w.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", canary+uuid.NewString())
	r.Header.Set("Cookie", canary+"="+canary)
	r.Header.Set("User-Agent", canary)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	_, _ = io.Copy(io.Discard, answer.Body)
	require.NoError(w.t, answer.Body.Close())
	w.sent++
	w.status[answer.StatusCode]++
}

// sinkOfCanaries answers in ways that end up in errors, with canaries in everything it says.
func sinkOfCanaries(t *testing.T) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", canary)
		w.Header().Set("Location", "https://"+canary+".example/"+canary)
		switch n := requests.Add(1); n % 6 {
		case 0:
			w.WriteHeader(http.StatusFound)
		case 1:
			w.Header().Set("Retry-After", canary)
			http.Error(w, canary, http.StatusServiceUnavailable)
		case 2:
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 canary " + canary + "\r\n" + canary + ": \x00" + canary + "\r\n\r\n"))
				_ = conn.Close()
			}
		case 3:
			panic(http.ErrAbortHandler)
		case 4:
			http.Error(w, canary, http.StatusBadRequest)
		default:
			_, _ = io.WriteString(w, canary)
		}
	}))
	t.Cleanup(sink.Close)
	return sink.URL, requests
}

// No log of any process has payloads, secrets or tokens, whatever is logged and whatever fails.
func TestNoLogHasSecretsOrPayloads(t *testing.T) {
	t.Parallel()
	s := startSystem(t, 1, "BEACONPOST_LOG_LEVEL=trace", "BEACONPOST_DELIVERY_RETRY_BASE=20ms")
	require.NoError(t, s.StartMonitor(t.Context()))
	operator, err := s.OperatorToken()
	require.NoError(t, err)
	jwt, err := s.TenantToken(uuid.MustParse(s.Tenant))
	require.NoError(t, err)
	secrets := []string{s.APIKey, operator, jwt}

	url, requests := sinkOfCanaries(t)
	hook := url + "/" + canary + "?token=" + canary
	create := func(path string, body map[string]any) map[string]any {
		t.Helper()
		var created map[string]any
		s.call(s.APIKey, "POST", path, body, &created)
		return created
	}
	for _, secret := range []any{nil, "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"} { // canarycanary…
		body := map[string]any{"url": hook, "event_types": []string{"*"}, "headers": map[string]string{"X-Token": canary}}
		if secret != nil {
			body["secret"] = secret
			secrets = append(secrets, secret.(string)) //nolint:forcetypeassert // it is a text
		}
		created := create("/v1/endpoints", body)
		if own, ok := created["secret"].(string); ok {
			secrets = append(secrets, own)
		}
	}
	for _, target := range []string{hook, "http://127.0.0.1:1/" + canary, "http://" + canary + ".invalid/" + canary} {
		create("/v1/monitors", map[string]any{
			"name": canary + target, "kind": "http", "interval": "10s", "timeout": "2s", "url": target, "method": "POST", "body": canary,
			"headers": map[string]string{"Authorization": "Bearer " + canary},
		})
	}
	beat := create("/v1/monitors", map[string]any{"name": canary, "kind": "heartbeat", "expected": map[string]any{"every": "1m"}})
	called, ok := beat["heartbeat_url_path"].(string)
	require.True(t, ok)
	{
		token := called[strings.LastIndex(called, "/")+1:]
		secrets = append(secrets, token)
		for _, method := range []string{"GET", "POST", "HEAD"} {
			_, _, err := s.Post(t.Context(), canary, method, "/v1/heartbeats/"+token, []byte(canary), "")
			require.NoError(t, err)
		}
	}
	event := func() {
		_, _, _ = s.Post(t.Context(), s.APIKey, "POST", "/v1/events", []byte(`{"event_type":"order.paid","payload":{"`+canary+`":"`+canary+`"}}`), canary+uuid.NewString())
	}
	for range 30 {
		event()
	}

	tokens := []string{s.APIKey, jwt, operator, "bp_" + canary, canary + "." + canary + "." + canary, ""}
	walkers := map[string]*walker{}
	walkAll := func() {
		for service, address := range map[string]string{"ingest": s.Ingest.API, "delivery": s.Deliveries[0].API, "monitor": s.Monitor.API} {
			w := &walker{t: t, base: "http://" + address, tokens: tokens, status: map[int]int{}}
			w.walk(service)
			walkers[service] = w
		}
	}
	walkAll()
	for service, w := range walkers {
		t.Logf("%s: %d requests, %v", service, w.sent, w.status)
		require.Positive(t, w.status[401], service)
		require.Positive(t, w.status[422]+w.status[400], service)
	}
	require.Eventually(t, func() bool { return requests.Load() > 60 }, 60*time.Second, 100*time.Millisecond)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(filepath.Join(s.Dir(), "monitor.log"))
		return err == nil && bytes.Count(text, []byte(`"message":"check"`)) >= 6
	}, 60*time.Second, 100*time.Millisecond)

	// Without the broker, and without Postgres. Only a few of the routes: each waits for its patience.
	s.NATS.Kill()
	for range 5 {
		event()
	}
	s.stopPostgres()
	for _, service := range []string{s.Ingest.API, s.Deliveries[0].API, s.Monitor.API} {
		w := &walker{t: t, base: "http://" + service, status: map[int]int{}}
		for _, path := range []string{"/v1/endpoints", "/v1/events", "/v1/deliveries", "/v1/monitors", "/v1/alert-channels", "/v1/heartbeats/" + canary} {
			for _, token := range tokens[:4] {
				w.send("GET", path, token, "")
				w.send("GET", path+"?cursor="+canary, token, "")
				w.send("POST", path, token, `{"event_type":"order.paid","payload":"`+canary+`","url":"`+hook+`"}`)
			}
		}
		require.Positive(t, w.status[503], "%v", w.status)
	}
	s.startPostgres()
	s.startNATS()
	before := requests.Load()
	require.Eventually(t, func() bool { event(); return requests.Load() > before+20 }, 60*time.Second, 100*time.Millisecond)
	require.NoError(t, s.Stop())

	logs, err := filepath.Glob(filepath.Join(s.Dir(), "*.log"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(logs), 5)
	lines := map[string]int{}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		require.NotEmpty(t, text, log)
		for line := range bytes.Lines(text) {
			lines[filepath.Base(log)]++
			if problem := tells(line, secrets); problem != nil {
				t.Errorf("%s: %v: %s", filepath.Base(log), problem, line)
			}
		}
	}
	t.Log(lines)
	linesAreDocumented(t, logs)
}

// tells says what of a line nobody may read.
func tells(line []byte, secrets []string) error {
	if bytes.Contains(line, []byte(canary)) {
		return errors.New("has a canary")
	}
	for _, secret := range secrets {
		if len(secret) > 8 && bytes.Contains(line, []byte(secret)) {
			return errors.New("has a secret")
		}
	}
	return nil
}

// linesAreDocumented compares the three wide lines with the tables of docs/logs.md.
func linesAreDocumented(t *testing.T, logs []string) {
	t.Helper()
	page, err := os.ReadFile("../docs/logs.md")
	require.NoError(t, err)
	tables := map[string]map[string]string{}
	current := ""
	for line := range strings.Lines(string(page)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			current = name
			tables[current] = map[string]string{}
		}
		if cells := strings.Split(line, "|"); len(cells) > 3 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			tables[current][strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
		}
	}
	seen := map[string]map[string]bool{"request": {}, "attempt": {}, "check": {}}
	for _, log := range logs {
		file, err := os.Open(log)
		require.NoError(t, err)
		for scanner := bufio.NewScanner(file); scanner.Scan(); {
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) != nil {
				continue // Postgres' and the broker's
			}
			kind, _ := line["message"].(string)
			if seen[kind] == nil {
				kind = "every line"
			}
			for field, value := range line {
				when, ok := tables[kind][field]
				if _, all := tables["every line"][field]; all || kind == "every line" {
					continue
				}
				require.True(t, ok, "docs/logs.md does not have %s of %q: %s", field, kind, scanner.Bytes())
				seen[kind][field] = true
				if when == "always" {
					require.NotEmpty(t, fmt.Sprint(value), "%s of %q: %s", field, kind, scanner.Bytes())
				}
			}
			for field, when := range tables[kind] {
				if when == "always" {
					require.Contains(t, line, field, kind)
				}
			}
		}
		require.NoError(t, file.Close())
	}
	for kind, fields := range seen {
		for field := range tables[kind] {
			require.True(t, fields[field], "docs/logs.md has %s of %q, which was not seen", field, kind)
		}
	}
}
