package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// The PrometheusRule is the alerts' file, all of it and nothing else.
func TestAlertsAreTheFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("k8s/observability/alerts.yaml")
	require.NoError(t, err)
	var want monitoring.PrometheusRuleSpec
	require.NoError(t, yaml.UnmarshalStrict(text, &want))
	require.NotEmpty(t, want.Groups)
	rule := chart.All[monitoring.PrometheusRule](render(t, switched(t, "monitoring")))[0]
	require.Equal(t, want, rule.Spec)
	require.Equal(t, "b", rule.Labels["a"])
}

// Every dashboard is in a ConfigMap that Grafana's sidecar finds.
func TestDashboardsAreTheFiles(t *testing.T) {
	t.Parallel()
	r := render(t, switched(t, "monitoring"))
	files, err := filepath.Glob("k8s/observability/dashboards/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	found := map[string]string{}
	for _, c := range chart.All[core.ConfigMap](r) {
		require.Equal(t, "1", c.Labels["grafana_dashboard"])
		require.Equal(t, "b", c.Annotations["a"])
		for name, text := range c.Data {
			require.True(t, json.Valid([]byte(text)), name)
			found[name] = text
		}
	}
	require.Len(t, found, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(text), found["beaconpost-"+filepath.Base(file)])
	}
}

// The PodMonitor finds every pod of the services by labels and port, and not that of the migration.
func TestPodsAreScraped(t *testing.T) {
	t.Parallel()
	r := render(t, chart.Over(switched(t, "monitoring"), switched(t, "regions")))
	m := chart.All[monitoring.PodMonitor](r)[0]
	require.Equal(t, "b", m.Labels["a"])
	for name, pod := range pods(r) {
		c := pod.Spec.Containers[0]
		require.Equal(t, c.Name != "migrate", selects(t, &m.Spec.Selector, pod.Labels), name)
		if c.Name != "migrate" {
			require.Equal(t, c.Ports[1].Name, *m.Spec.PodMetricsEndpoints[0].Port)
		}
	}
}
