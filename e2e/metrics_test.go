package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

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
