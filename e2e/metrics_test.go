package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

var documentedRow = regexp.MustCompile("(?m)^\\| `(beaconpost_[a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ([^|]*) \\|")

// documented reads docs/metrics.md: type and labels by name.
func documented(t *testing.T) (types map[string]string, labels map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	types, labels = map[string]string{}, map[string][]string{}
	for _, row := range documentedRow.FindAllStringSubmatch(string(text), -1) {
		types[row[1]] = row[2]
		if row[3] != "" {
			labels[row[1]] = strings.Split(strings.ReplaceAll(row[3], "`", ""), ", ")
		}
	}
	require.Greater(t, len(types), 40)
	return types, labels
}

// What the services export is what docs/metrics.md says, and as Prometheus wants it.
func TestMetricsAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	s := startSystem(t, 1)
	s.startMonitor()
	endpoint := s.receive(nil, nil)
	var accepted struct{ ID string }
	s.call(s.APIKey, "POST", "/v1/events", map[string]any{"event_type": "order.created", "payload": map[string]any{}}, &accepted)
	require.Eventually(t, func() bool {
		endpoint.mu.Lock()
		defer endpoint.mu.Unlock()
		return len(endpoint.bodies) > 0
	}, 30*time.Second, 50*time.Millisecond)
	types, labels := documented(t)
	seen := map[string]bool{}
	for _, process := range []*stack.Process{s.Ingest, s.Deliveries[0], s.Monitor} {
		text := ""
		require.Eventually(t, func() bool { // of consumers, when they were looked at
			text = s.metrics(process)
			return process == s.Ingest || strings.Contains(text, "beaconpost_consumer_pending{")
		}, 60*time.Second, 500*time.Millisecond)
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		require.NoError(t, err)
		require.Empty(t, problems)
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		require.NoError(t, err)
		for name, family := range families {
			if !strings.HasPrefix(name, "beaconpost_") {
				continue
			}
			seen[name] = true
			require.Equal(t, types[name], strings.ToLower(family.GetType().String()), name)
			for _, metric := range family.GetMetric() {
				var got []string
				for _, label := range metric.GetLabel() {
					got = append(got, label.GetName())
				}
				slices.Sort(got)
				require.ElementsMatch(t, labels[name], got, name)
			}
		}
	}
	for _, name := range []string{"beaconpost_events_accepted_total", "beaconpost_delivery_first_attempt_latency_seconds", "beaconpost_scheduler_lag_seconds", "beaconpost_consumer_pending"} {
		require.True(t, seen[name], name)
	}
}

// seriesOf counts the series of each of our metrics.
func (s *system) seriesOf(process *stack.Process) map[string]int {
	s.t.Helper()
	series := map[string]int{}
	for line := range strings.Lines(s.metrics(process)) {
		if name := metricName.FindString(line); name != "" && strings.HasPrefix(line, name) {
			series[name]++
		}
	}
	require.NotEmpty(s.t, series)
	return series
}

// However many tenants there are, and whatever is asked for, there are no more series.
func TestSeriesDoNotGrowWithTenants(t *testing.T) {
	t.Parallel()
	const tenants = 10_000
	s := startSystem(t, 1)
	s.startMonitor()
	answering := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(answering.Close)
	s.query(`WITH t AS (INSERT INTO tenants (id, name) SELECT gen_random_uuid(), 'tenant ' || n FROM generate_series(1, $1::int) n RETURNING 1) SELECT count(*)::text FROM t`, tenants)
	ids := strings.Split(s.query(`SELECT string_agg(id::text, ' ') FROM tenants WHERE name LIKE 'tenant %'`), " ")
	require.Len(t, ids, tenants)
	tokens := make([]string, tenants)
	for i, id := range ids {
		var err error
		tokens[i], err = s.TenantToken(uuid.MustParse(id))
		require.NoError(t, err)
	}
	// Every hundredth has an endpoint, so that delivery has to do with many too.
	for i := 0; i < tenants; i += 100 {
		s.call(tokens[i], "POST", "/v1/endpoints", map[string]any{"url": answering.URL}, &struct{}{})
	}
	post := func(list []string) {
		var all errgroup.Group
		all.SetLimit(8)
		for _, token := range list {
			all.Go(func() error {
				status, answer, err := s.Post(t.Context(), token, "POST", "/v1/events", []byte(`{"event_type":"order.created","payload":{}}`), "")
				if err == nil && status != http.StatusAccepted {
					err = fmt.Errorf("%d %s", status, answer)
				}
				return err
			})
		}
		require.NoError(t, all.Wait())
	}
	odd := func(n int) {
		for i := range n {
			_, _, err := s.Post(t.Context(), tokens[i], "GET", "/v1/"+strings.Repeat("x", 1+i%30)+"/"+ids[i], nil, "")
			require.NoError(t, err)
		}
	}
	delivered := func(n int) {
		require.Eventually(t, func() bool {
			return s.query(`SELECT count(*)::text FROM deliveries WHERE status = 'delivered'`) == strconv.Itoa(n)
		}, 60*time.Second, 100*time.Millisecond)
	}
	post(tokens[:1])
	odd(1)
	delivered(1)
	processes := []*stack.Process{s.Ingest, s.Deliveries[0], s.Monitor}
	var before []map[string]int
	for _, p := range processes {
		before = append(before, s.seriesOf(p))
	}
	post(tokens[1:])
	odd(200)
	delivered(tenants / 100)
	for i, p := range processes {
		for name, n := range s.seriesOf(p) {
			if !strings.HasPrefix(name, "beaconpost_consumer_") { // are looked at every 15 s: of the shards, some had not been before
				require.Equal(t, before[i][name], n, name)
			}
		}
	}
}
