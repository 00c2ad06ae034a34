package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

const observability = "../deploy/k8s/observability"

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := observe.Program("..", name)
	require.NoError(t, err)
	return path
}

func alertRules(t *testing.T) []observe.Rule {
	t.Helper()
	list, err := observe.Rules("..")
	require.NoError(t, err)
	require.NotEmpty(t, list)
	return list
}

// Rules are valid, do for each case what is expected, and each has a case and a runbook.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool := program(t, "promtool")
	require.NoError(t, stack.Command(t.Context(), observability, promtool, "check", "rules", "alerts.yaml"))
	require.NoError(t, stack.Command(t.Context(), observability, promtool, "test", "rules", "alerts_test.yaml"))
	cases, err := os.ReadFile(observability + "/alerts_test.yaml")
	require.NoError(t, err)
	readme, err := os.ReadFile("../docs/runbooks/README.md")
	require.NoError(t, err)
	for _, rule := range alertRules(t) {
		name := strings.TrimPrefix(rule.Alert, "Beaconpost")
		require.Contains(t, string(cases), "name: "+name+" fires\n")
		require.Contains(t, string(cases), "name: "+name+" is quiet\n")
		require.True(t, strings.HasSuffix(rule.Annotations["runbook_url"], "/docs/runbooks/"+name+".md"), rule.Alert)
		runbook, err := os.ReadFile("../docs/runbooks/" + name + ".md")
		require.NoError(t, err)
		for _, heading := range []string{"\n## What it means\n", "\n## What to look at\n", "\n## What to do\n"} {
			require.Contains(t, string(runbook), heading, name)
		}
		require.Contains(t, string(readme), "("+name+".md)")
	}
}

var (
	settingName = regexp.MustCompile("`(?:BEACONPOST)?(_?[A-Z][A-Z0-9_]{6,})`")
	metricName  = regexp.MustCompile("beaconpost_[a-z0-9_]+")
	selector    = regexp.MustCompile(`(beaconpost_[a-z0-9_]+|probe_[a-z_]+)(?:\{([^}]*)\})?`)
	labelName   = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
)

// exported gives the documented name of a metric or of one of a histogram's series.
func exported(types map[string]string, name string) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && types[base] == "histogram" {
			return base
		}
	}
	return name
}

// Runbooks name metrics and settings that there are.
func TestRunbooksNameWhatThereIs(t *testing.T) {
	t.Parallel()
	types, _ := documented(t)
	var settings strings.Builder
	for _, service := range []string{"ingest", "delivery", "monitor"} {
		readme, err := os.ReadFile("../services/" + service + "/README.md")
		require.NoError(t, err)
		settings.Write(readme)
	}
	files, err := filepath.Glob("../docs/runbooks/*.md")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, name := range metricName.FindAllString(string(text), -1) {
			require.NotEmpty(t, types[exported(types, name)], "%s: %s", file, name)
		}
		for _, name := range settingName.FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(name[1], "_") {
				require.Contains(t, settings.String(), "`BEACONPOST"+name[1]+"`", file)
			}
		}
	}
}

// Runbooks send their readers to panels that there are, and each to one that shows something of the alert's metrics.
func TestRunbooksNamePanelsThatThereAre(t *testing.T) {
	t.Parallel()
	queries := map[observe.Place]string{}
	for _, d := range dashboards(t) {
		for _, panel := range d.Panels {
			queries[observe.Place{Dashboard: d.Name, Panel: panel.Title}] = strings.Join(panel.Queries(), "\n")
		}
	}
	for _, rule := range alertRules(t) {
		if rule.Alert == "BeaconpostIngressCertificateEnding" {
			continue // of a tenant's monitors, which no dashboard of ours shows
		}
		places, err := observe.RunbookPanels("..", rule.Alert)
		require.NoError(t, err)
		shown := ""
		for _, place := range places {
			require.Contains(t, queries, place, rule.Alert)
			shown += queries[place]
		}
		require.True(t, slices.ContainsFunc(metricName.FindAllString(rule.Expr, -1), func(name string) bool { return strings.Contains(shown, name) }), rule.Alert)
	}
}

// prometheus is a running server.
type prometheus struct {
	*observe.Server
	t *testing.T
}

// startExporter has Postgres' exporter look at the database. It gives its address.
func (s *system) startExporter() string {
	s.t.Helper()
	dir := s.t.TempDir()
	require.NoError(s.t, stack.Command(s.t.Context(), "../tools/postgres_exporter", "env", "GOWORK=off", "go", "build",
		"-o", dir+"/postgres_exporter", "github.com/prometheus-community/postgres_exporter/cmd/postgres_exporter"))
	port, err := stack.FreePort(s.t.Context())
	require.NoError(s.t, err)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	process, err := stack.Spawn("postgres_exporter", dir+"/postgres_exporter.log", dir+"/postgres_exporter", append(os.Environ(), "DATA_SOURCE_NAME="+s.DatabaseURL()),
		"--web.listen-address="+address, "--collector.database_wraparound")
	require.NoError(s.t, err)
	s.t.Cleanup(process.Kill)
	return address
}

// startPrometheus has a server scrape the services, Postgres' exporter, and the tenant's monitors as the job that watches our own ingress, every second.
func (s *system) startPrometheus(exporter string, features ...string) *prometheus {
	s.t.Helper()
	monitors, err := url.Parse(s.MonitorURL)
	require.NoError(s.t, err)
	server, err := observe.Start(s.t.Context(), observe.Config{
		Dir: s.t.TempDir(), Program: program(s.t, "prometheus"), Rules: observability + "/alerts.yaml", Interval: time.Second, Features: features, Jobs: []observe.Job{
			{Name: "beaconpost", Targets: []string{s.Ingest.Admin, s.Deliveries[0].Admin, s.Monitor.Admin}},
			{Name: "postgres", Targets: []string{exporter}},
			{Name: "beaconpost-ingress", Path: "/v1/monitors/metrics", Token: s.APIKey, Targets: []string{monitors.Host}},
		},
	})
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	return &prometheus{server, s.t}
}

// query gives how many series an expression has now.
func (p *prometheus) query(expr string) int {
	p.t.Helper()
	list, err := p.Query(p.t.Context(), expr)
	require.NoError(p.t, err)
	return len(list)
}

func dashboards(t *testing.T) []observe.Dashboard {
	t.Helper()
	list, err := observe.Dashboards("..")
	require.NoError(t, err)
	require.Len(t, list, 6)
	for _, d := range list {
		require.Equal(t, "beaconpost-"+d.Name, d.UID, "links lead to it")
	}
	return list
}

// expression is something that Prometheus is asked, and where.
type expression struct{ where, expr string }

// panelQueries are those of all panels, with the variables as Grafana fills them in.
func panelQueries(t *testing.T) (list []expression) {
	t.Helper()
	for _, d := range dashboards(t) {
		require.NotEmpty(t, d.Description, d.Title)
		for _, panel := range d.Panels {
			if panel.IsRow() {
				continue
			}
			where := d.Title + ": " + panel.Title
			require.NotEmpty(t, panel.Description, "%s: what does good look like?", where)
			require.NotEmpty(t, panel.Targets, where)
			for _, expr := range panel.Queries() {
				list = append(list, expression{where, expr})
			}
		}
	}
	return list
}

// requireKnown holds that an expression names metrics and labels that there are.
func requireKnown(t *testing.T, e expression, types map[string]string, labels map[string][]string) {
	t.Helper()
	for _, found := range selector.FindAllStringSubmatch(e.expr, -1) {
		name := exported(types, found[1])
		if strings.HasPrefix(name, "probe_") {
			continue // a tenant's: see the monitors' scrape
		}
		require.NotEmpty(t, types[name], "%s names %s", e.where, found[1])
		for _, label := range labelName.FindAllStringSubmatch(found[2], -1) {
			known := slices.Contains(labels[name], label[1]) || label[1] == "le" && types[name] == "histogram" || label[1] == "namespace" || label[1] == "instance"
			require.True(t, known, "%s: %s has no label %s", e.where, name, label[1])
		}
	}
}

// A real Prometheus scrapes a system with traffic and failures. Every panel shows something, every alert can be evaluated, and all name metrics and labels
// that there are.
func TestDashboardsAndAlertsSeeTheSystem(t *testing.T) {
	t.Parallel()
	s := startSystem(t, 1)
	s.startMonitor()
	s.receive(nil, nil)
	s.receive(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, nil)
	target := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	t.Cleanup(target.Close)
	s.call(s.APIKey, "POST", "/v1/monitors", map[string]any{
		"name": "ingress", "kind": "http", "url": target.URL, "interval": "10s", "timeout": "2s", "tls": map[string]any{"insecure_skip_verify": true},
	}, &struct{}{})
	exporter := s.startExporter()
	p, native := s.startPrometheus(exporter, "exemplar-storage"), s.startPrometheus(exporter, "native-histograms")
	send := func() {
		for range 5 {
			s.call(s.APIKey, "POST", "/v1/events", map[string]any{"event_type": "order.created", "payload": map[string]any{}}, &struct{}{})
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Deliveries[0].API+"/v1/deliveries", http.NoBody)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+s.APIKey)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	types, labels := documented(t)
	panels := panelQueries(t)
	var alerts []expression
	for _, rule := range alertRules(t) {
		alerts = append(alerts, expression{rule.Alert, rule.Expr})
	}
	for _, e := range slices.Concat(panels, alerts) {
		requireKnown(t, e, types, labels)
	}
	var missing []string
	look := func() bool {
		send()
		missing = nil
		for _, e := range panels {
			if p.query(e.expr) == 0 {
				missing = append(missing, e.where+": "+e.expr)
			}
		}
		for _, e := range alerts {
			for _, found := range selector.FindAllStringSubmatch(e.expr, -1) {
				if !strings.HasSuffix(found[1], "_trouble_total") && p.query(found[1]) == 0 { // of trouble there is none, so far
					missing = append(missing, e.where+": "+found[1])
				}
			}
		}
		return len(missing) == 0
	}
	require.Eventually(t, look, 90*time.Second, time.Second, "no data: %v", &missing)
	for _, e := range alerts {
		p.query(e.expr)
	}
	require.Eventually(t, func() bool {
		return native.query(`histogram_count(beaconpost_delivery_first_attempt_latency_seconds) > 0`) > 0
	}, 30*time.Second, time.Second, "there are native histograms")
	require.Eventually(t, func() bool { return p.query(`beaconpost_endpoints_in_trouble{state="open"} == 1`) == 1 }, 40*time.Second, time.Second, "the endpoint that answers 503")
	require.Zero(t, p.query(`ALERTS{alertstate="firing",severity="critical"}`), "a healthy system is quiet")
}
