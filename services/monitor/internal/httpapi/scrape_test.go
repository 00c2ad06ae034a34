package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	pkghttp "github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/httpapi"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// scraped is a store that has samples, with what it was asked for.
type scraped struct {
	httpapi.Store
	list   []ledger.Sample
	tenant tenant.ID
	filter ledger.SampleFilter
}

func (s *scraped) Samples(_ context.Context, t tenant.ID, f ledger.SampleFilter, _ time.Time) ([]ledger.Sample, error) {
	s.tenant, s.filter = t, f
	return s.list, nil
}

// serve serves the API with s.
func (s *scraped) serve(t testing.TB) *httptest.Server {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "monitor", LogLevel: "error", LogWriter: io.Discard})
	require.NoError(t, err)
	api := pkghttp.New(pkghttp.Config{Service: "monitor", Title: "Monitor", Version: "1", Authenticator: credentials{}, Telemetry: tel})
	(&httpapi.Handlers{Store: s}).Register(api)
	handler, err := api.Handler()
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// get asks for path as a Prometheus server does.
func (s *scraped) get(t testing.TB, path, accept string) (*http.Response, string) {
	t.Helper()
	server := s.serve(t)
	defer http.DefaultClient.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer x")
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

const (
	scrapePath  = "/v1/monitors/metrics"
	plain       = "text/plain;version=0.0.4"
	openMetrics = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
)

var (
	scrapedID = uuid.MustParse("0190f0a4-0000-7000-8000-000000000001")
	projectID = uuid.MustParse("0190f0a4-0000-7000-8000-000000000002")
)

// sample is a monitor of which everything is known, from two regions.
func sample(id uuid.UUID, name string) ledger.Sample {
	at := time.UnixMicro(1_800_000_000_250_000)
	return ledger.Sample{
		Monitor: id, Name: name, Kind: check.HTTP, Project: &projectID, Status: "degraded",
		Account: ledger.Account{
			Regions: map[string]ledger.Region{
				"eu": {Tally: ledger.Tally{Up: 7, Degraded: 1}, Last: &ledger.Last{
					Outcome: check.Degraded, StartedAt: at, Duration: 1500 * time.Millisecond, Status: 200, CertEnds: at.AddDate(0, 0, 9),
					Phases: check.Phases{Resolve: time.Millisecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, Processing: time.Second, Transfer: time.Microsecond},
				}},
				"us": {Tally: ledger.Tally{Up: 5, Down: 2, NotChecked: 1}, Last: &ledger.Last{Outcome: check.Down, StartedAt: at, Duration: time.Second, Phases: check.Phases{Resolve: time.Millisecond}}},
			},
			Failures: map[check.Cause]int64{check.CauseConnect: 3},
		},
		Windows: []ledger.Times{{Paused: time.Hour}, {Up: 3 * time.Hour, Down: time.Hour}, {Up: time.Hour, Degraded: time.Hour}},
	}
}

func TestAScrapeIsWhatPrometheusReads(t *testing.T) {
	t.Parallel()
	s := &scraped{list: []ledger.Sample{sample(scrapedID, "a \"b\"\n\\c ä")}}
	resp, text := s.get(t, scrapePath, plain)
	require.Equal(t, http.StatusOK, resp.StatusCode, text)
	require.True(t, strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4"), resp.Header)
	require.Equal(t, acme, s.tenant)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)

	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	got := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			require.Nil(t, m.TimestampMs)
			got[name+labelsOf(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	require.Equal(t, map[string]float64{
		"probe_success region=eu": 1, "probe_success region=us": 0,
		"probe_duration_seconds region=eu": 1.5, "probe_duration_seconds region=us": 1,
		"probe_http_duration_seconds phase=resolve region=eu": .001, "probe_http_duration_seconds phase=connect region=eu": .002,
		"probe_http_duration_seconds phase=tls region=eu": .003, "probe_http_duration_seconds phase=processing region=eu": 1,
		"probe_http_duration_seconds phase=transfer region=eu": .000001, "probe_http_duration_seconds phase=resolve region=us": .001,
		"probe_http_status_code region=eu":             200,
		"probe_ssl_earliest_cert_expiry region=eu":     1800000000 + 9*24*3600,
		"probe_last_check_timestamp_seconds region=eu": 1800000000.25, "probe_last_check_timestamp_seconds region=us": 1800000000.25,
		"beaconpost_monitor_state state=up": 0, "beaconpost_monitor_state state=degraded": 1, "beaconpost_monitor_state state=down": 0,
		"beaconpost_monitor_state state=maintenance": 0, "beaconpost_monitor_state state=paused": 0, "beaconpost_monitor_state state=unknown": 0,
		"beaconpost_monitor_checks_total region=eu result=up": 7, "beaconpost_monitor_checks_total region=eu result=degraded": 1,
		"beaconpost_monitor_checks_total region=eu result=down": 0, "beaconpost_monitor_checks_total region=eu result=not_checked": 0,
		"beaconpost_monitor_checks_total region=us result=up": 5, "beaconpost_monitor_checks_total region=us result=degraded": 0,
		"beaconpost_monitor_checks_total region=us result=down": 2, "beaconpost_monitor_checks_total region=us result=not_checked": 1,
		"beaconpost_monitor_failures_total cause=connect":                                     3,
		"beaconpost_monitor_uptime_ratio window=7d":                                           .75,
		"beaconpost_monitor_uptime_ratio window=30d":                                          1,
		"beaconpost_monitor_info kind=http name=a \"b\"\n\\c ä project=" + projectID.String(): 1,
	}, got)
}

// labelsOf gives the labels but the monitor's, which each has.
func labelsOf(m *dto.Metric) (text string) {
	for _, l := range m.GetLabel() {
		if l.GetName() != "monitor" {
			text += " " + l.GetName() + "=" + l.GetValue()
		} else if l.GetValue() != scrapedID.String() {
			text += " of another"
		}
	}
	return text
}

func TestAScrapeIsOpenMetricsIfThatIsAccepted(t *testing.T) {
	t.Parallel()
	s := &scraped{list: []ledger.Sample{sample(scrapedID, "x")}}
	resp, text := s.get(t, scrapePath, openMetrics)
	require.True(t, strings.HasPrefix(resp.Header.Get("Content-Type"), "application/openmetrics-text; version=1.0.0"), resp.Header)
	require.True(t, strings.HasSuffix(text, "\n# EOF\n"), text)
	require.Contains(t, text, "# TYPE beaconpost_monitor_checks counter\n")
	require.Contains(t, text, fmt.Sprintf("beaconpost_monitor_checks_total{monitor=%q,region=\"us\",result=\"down\"} 2.0\n", scrapedID))

	s.list = nil
	_, text = s.get(t, scrapePath, openMetrics)
	require.Equal(t, "# EOF\n", text)
}

func TestWhatIsNotKnownIsAbsent(t *testing.T) {
	t.Parallel()
	s := &scraped{list: []ledger.Sample{{Monitor: scrapedID, Name: "x", Kind: check.TCP, Status: "unknown"}}}
	_, text := s.get(t, scrapePath, plain)
	for _, name := range []string{"probe_", "_total", "_ratio"} {
		require.NotContains(t, text, name)
	}
	// The result code of another protocol is no HTTP status, nor are its phases.
	s.list[0].Account = sample(scrapedID, "x").Account
	_, text = s.get(t, scrapePath, plain)
	require.NotContains(t, text, "probe_http")
	require.Contains(t, text, "probe_duration_seconds")
	// The job of a heartbeat takes an unknown time.
	s.list[0].Kind = check.Heartbeat
	s.list[0].Regions = map[string]ledger.Region{"heartbeat": {Last: &ledger.Last{Outcome: check.Up, StartedAt: time.Now()}}}
	_, text = s.get(t, scrapePath, plain)
	require.NotContains(t, text, "probe_duration_seconds")
	require.Contains(t, text, "probe_success")
}

func TestScrapesAreNarrowed(t *testing.T) {
	t.Parallel()
	s := &scraped{}
	s.get(t, scrapePath+"?tag=web&project_id="+projectID.String(), plain)
	require.Equal(t, ledger.SampleFilter{Tag: "web", Project: &projectID, Limit: 10_000}, s.filter)
	for query, field := range map[string]string{"?project_id=x": "project_id", "?region=eu": "region"} {
		resp, text := s.get(t, scrapePath+query, plain)
		require.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
		require.Contains(t, text, fmt.Sprintf(`"field":%q`, field))
	}
	s.list = make([]ledger.Sample, 10_001)
	resp, text := s.get(t, scrapePath, plain)
	require.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
	require.Contains(t, text, `"code":"too_many_monitors"`)
}

// Who asks and does not read holds up nobody: neither another tenant nor, up to a number, itself.
func TestScrapesOfOneTenantLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	big := &scraped{}
	for i := range 5_000 {
		big.list = append(big.list, sample(uuid.New(), fmt.Sprint("monitor ", i)))
	}
	server := big.serve(t)
	address := strings.TrimPrefix(server.URL, "http://")
	for range 4 {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n", scrapePath)
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1)) // it is being sent
		require.NoError(t, err)
	}
	status := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+scrapePath, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return resp.StatusCode
	}
	began := time.Now()
	require.Equal(t, http.StatusTooManyRequests, status("x"))
	require.Equal(t, http.StatusOK, status("evil"))
	require.Less(t, time.Since(began), 20*time.Second)
}

// The most that one scrape may be.
func BenchmarkScrape(b *testing.B) {
	s := &scraped{}
	for i := range 10_000 {
		one := sample(uuid.New(), fmt.Sprint("monitor ", i))
		one.Regions["ap"] = one.Regions["eu"]
		s.list = append(s.list, one)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, text := s.get(b, scrapePath, plain)
		b.SetBytes(int64(len(text)))
	}
}
