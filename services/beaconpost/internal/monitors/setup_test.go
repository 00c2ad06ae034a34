package monitors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// api is the part of the API that monitors are kept with: defaults, hidden secrets, refusals.
type api struct {
	*httptest.Server
	noPreview    bool
	pageSize     int // 0: as asked for
	unauthorized bool

	mu      sync.Mutex
	stored  map[string]document // by id, with the secrets
	made    int
	writes  []string // "PUT Shop"
	refuse  map[string]int
	running int
	most    int
}

func newAPI(t *testing.T) *api {
	a := &api{stored: map[string]document{}, refuse: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/monitors", a.list)
	mux.HandleFunc("POST /v1/monitors", a.create)
	mux.HandleFunc("POST /v1/monitors/{id}", a.preview)
	mux.HandleFunc("PUT /v1/monitors/{id}", a.replace)
	mux.HandleFunc("DELETE /v1/monitors/{id}", a.remove)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.unauthorized || r.Header.Get("Authorization") != "Bearer bp_1" {
			problem(w, 401, "unauthorized", "Who is it?", "")
			return
		}
		a.enter(1)
		defer a.enter(-1)
		if r.Method != http.MethodGet {
			time.Sleep(time.Millisecond) // so that requests meet
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) enter(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running += n
	a.most = max(a.most, a.running)
}

func problem(w http.ResponseWriter, status int, code, detail, field string, more ...string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	body := map[string]any{"code": code, "detail": detail, "field": field}
	if len(more) > 0 {
		errs := []any{map[string]any{"field": field, "detail": detail}}
		for i := 0; i < len(more); i += 2 {
			errs = append(errs, map[string]any{"field": more[i], "detail": more[i+1]})
		}
		body["errors"] = errs
	}
	_ = json.NewEncoder(w).Encode(body)
}

// complete gives a body with the defaults; a detail and a field if it is refused.
func complete(body document) (d document, refusal []string) {
	d = document{"interval": "30s", "failure_threshold": json.Number("3"), "paused": false, "regions": []any{"default"}, "tags": []any{}}
	maps.Copy(d, body)
	known := []string{"name", "kind", "url", "host", "port", "record_type", "headers", "auth", "tls", "tags", "regions", "interval", "failure_threshold", "paused", "expected", "slo", "send", "status_codes"}
	for _, key := range slices.Sorted(maps.Keys(body)) {
		if !slices.Contains(known, key) {
			refusal = append(refusal, key, "unexpected property")
		}
	}
	interval, err := time.ParseDuration(d.text("interval"))
	if err != nil || interval < 10*time.Second {
		refusal = append(refusal, "interval", "Expected 10s or more.")
	}
	d["interval"] = interval.String()
	if strings.Contains(d.text("url"), " ") {
		refusal = append(refusal, "url", "url must have no space: "+d.text("url"))
	}
	return d, refusal
}

// masked hides values of the header Authorization and of auth.
func masked(d document) document {
	d = maps.Clone(d)
	for _, part := range []string{"headers", "auth"} {
		if inner, ok := d[part].(map[string]any); ok {
			inner = maps.Clone(inner)
			for key := range inner {
				if part == "auth" && key != "username" || key == "Authorization" {
					inner[key] = hidden
				}
			}
			d[part] = inner
		}
	}
	return d
}

// unmask puts stored secrets in place of ***.
func unmask(d, stored document) document {
	d = maps.Clone(d)
	for _, part := range []string{"headers", "auth"} {
		inner, ok := d[part].(map[string]any)
		have, _ := stored[part].(map[string]any)
		if !ok {
			continue
		}
		inner = maps.Clone(inner)
		for key, value := range inner {
			if value == hidden && have[key] != nil {
				inner[key] = have[key]
			}
		}
		d[part] = inner
	}
	return d
}

func (a *api) view(id string) document {
	d := masked(a.stored[id])
	maps.Copy(d, document{"id": id, "status": "up", "since": "2026-11-02T10:00:00Z", "version": json.Number("1"), "created_at": "2026-11-01T00:00:00Z", "updated_at": "2026-11-01T00:00:00Z"})
	return d
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(a.stored), func(x, y string) int { return strings.Compare(y, x) })
	limit, _ := strconv.Atoi(r.FormValue("limit"))
	if a.pageSize > 0 {
		limit = a.pageSize
	}
	page := map[string]any{}
	data := []document{}
	for _, id := range ids {
		if cursor := r.FormValue("cursor"); cursor != "" && id >= cursor {
			continue
		}
		if tags, _ := a.stored[id]["tags"].([]any); r.FormValue("tag") != "" && !slices.Contains(tags, any(r.FormValue("tag"))) {
			continue
		}
		if len(data) == limit {
			page["next_cursor"] = data[limit-1]["id"]
			break
		}
		data = append(data, a.view(id))
	}
	page["data"] = data
	_ = json.NewEncoder(w).Encode(page)
}

// read gives a body as it would be stored, nil if it was refused.
func (a *api) read(w http.ResponseWriter, r *http.Request, id string) document {
	var body document
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		problem(w, 400, "malformed", err.Error(), "")
		return nil
	}
	if status := a.refuse[body.text("name")]; status > 0 && r.URL.Path != "/v1/monitors/preview" {
		problem(w, status, "no", "Not now.", "name")
		return nil
	}
	d, refusal := complete(body)
	if stored := a.stored[id]; stored != nil && stored.text("kind") != d.text("kind") {
		refusal = append(refusal, "kind", "The kind cannot be changed.")
	}
	if len(refusal) > 0 {
		problem(w, 422, "invalid_monitor", refusal[1], refusal[0], refusal[2:]...)
		return nil
	}
	return unmask(d, a.stored[id])
}

func (a *api) create(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.read(w, r, "")
	if d == nil {
		return
	}
	for _, other := range a.stored {
		if other["name"] == d["name"] {
			problem(w, 409, "name_taken", "There is one already.", "name")
			return
		}
	}
	a.made++
	id := fmt.Sprintf("m%03d", a.made)
	a.stored[id] = d
	a.writes = append(a.writes, "POST "+d.text("name"))
	w.WriteHeader(201)
	_ = json.NewEncoder(w).Encode(a.view(id))
}

func (a *api) preview(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.PathValue("id") != "preview" || a.noPreview {
		problem(w, 405, "method_not_allowed", "", "")
		return
	}
	id := r.FormValue("id")
	if d := a.read(w, r, id); d != nil {
		changed := !slices.Equal(secretsOf(d), secretsOf(a.stored[id]))
		_ = json.NewEncoder(w).Encode(map[string]any{"monitor": masked(d), "secrets_changed": changed})
	}
}

func secretsOf(d document) (secrets []string) {
	for _, part := range []string{"headers", "auth"} {
		inner, _ := d[part].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(inner)) {
			if hide := masked(d)[part].(map[string]any)[key]; hide == hidden {
				secrets = append(secrets, part+key+fmt.Sprint(inner[key]))
			}
		}
	}
	return secrets
}

func (a *api) replace(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := r.PathValue("id")
	if d := a.read(w, r, id); d != nil {
		a.stored[id] = d
		a.writes = append(a.writes, "PUT "+d.text("name"))
		_ = json.NewEncoder(w).Encode(a.view(id))
	}
}

func (a *api) remove(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := r.PathValue("id")
	name := a.stored[id].text("name")
	if status := a.refuse[name]; status > 0 {
		problem(w, status, "no", "Not now.", "")
		return
	}
	delete(a.stored, id)
	a.writes = append(a.writes, "DELETE "+name)
	w.WriteHeader(204)
}

// taken gives what was written since it was called last, sorted.
func (a *api) taken() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	writes := a.writes
	a.writes = nil
	slices.Sort(writes)
	return writes
}

// run runs the command as a user does, with what is on standard input.
func run(t *testing.T, a *api, stdin string, args ...string) (out, notes string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := Command()
	cmd.Reader, cmd.Writer, cmd.ErrWriter = strings.NewReader(stdin), &stdout, &stderr
	err = cmd.Run(t.Context(), slices.Concat([]string{"monitors"}, args, []string{"--url", a.URL, "--api-key", "bp_1"}))
	return stdout.String(), stderr.String(), err
}

// applied applies a file and gives what was printed.
func applied(t *testing.T, a *api, content string, args ...string) string {
	t.Helper()
	out, notes, err := run(t, a, content, append([]string{"apply", "-f", "-", "--yes"}, args...)...)
	require.NoError(t, err, notes)
	require.Empty(t, notes)
	return out
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}
