package deploy_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// natsKnows are values of the NATS chart (2.14) that are used here. It has no schema: one that is misspelt is ignored, and there is one server where three were
// meant. What is nil is a part of a manifest, into which the chart merges it.
var natsKnows = chart.Values{
	"enabled": true, "nameOverride": "", "fullnameOverride": "", // enabled is ours
	"config": chart.Values{
		"cluster":   chart.Values{"enabled": true, "replicas": 3.0},
		"jetstream": chart.Values{"enabled": true, "fileStore": chart.Values{"enabled": true, "pvc": chart.Values{"enabled": true, "size": "", "storageClassName": ""}}},
	},
	"podTemplate": chart.Values{
		"topologySpreadConstraints": chart.Values{"kubernetes.io/hostname": chart.Values{"maxSkew": 1.0, "whenUnsatisfiable": ""}},
		"merge":                     nil,
	},
	"container": chart.Values{"env": chart.Values{"GOMEMLIMIT": ""}, "merge": nil},
	"reloader":  chart.Values{"merge": nil},
	"natsBox":   chart.Values{"enabled": true},
}

func TestNATSValuesAreThoseOfItsChart(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(chartDir + "/examples/*.yaml")
	require.NoError(t, err)
	for _, file := range append(files, chartDir+"/values.yaml") {
		if nats, ok := read(t, file)["nats"].(map[string]any); ok {
			requireKnown(t, file+": nats", nats, natsKnows)
		}
	}
	for _, merged := range []struct {
		of   string
		into any
	}{{"podTemplate", &core.PodTemplateSpec{}}, {"container", &core.Container{}}, {"reloader", &core.Container{}}} {
		nats := read(t, chartDir+"/values.yaml")["nats"].(map[string]any)
		text, err := sigsyaml.Marshal(nats[merged.of].(map[string]any)["merge"])
		require.NoError(t, err)
		require.NoError(t, sigsyaml.UnmarshalStrict(text, merged.into), merged.of)
	}
}

func requireKnown(t *testing.T, path string, values, known chart.Values) {
	t.Helper()
	for key, value := range values {
		like, ok := known[key]
		require.True(t, ok, "%s.%s: the chart has no such value", path, key)
		if like == nil {
			continue
		}
		require.IsType(t, like, value, "%s.%s", path, key)
		if below, ok := value.(map[string]any); ok {
			requireKnown(t, path+"."+key, below, like.(chart.Values))
		}
	}
}

// The services look for NATS where its chart puts it, and policies let them get there: it names itself after the release, and after what it is called.
func TestNATSIsWhereItsChartPutsIt(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]struct{ service, name string }{
		`{enabled: true}`:                                              {"shop-nats", "nats"},
		`{enabled: true, nameOverride: bus}`:                           {"shop-bus", "bus"},
		`{enabled: true, nameOverride: shop}`:                          {"shop", "shop"}, // the release's name has it already
		`{enabled: true, fullnameOverride: broker}`:                    {"broker", "nats"},
		`{enabled: true, fullnameOverride: broker, nameOverride: bus}`: {"broker", "bus"},
	} {
		r := with(t, `nats: `+values)
		for _, service := range []string{"ingest", "delivery", "monitor-default"} {
			require.Equal(t, "nats://"+want.service+":4222", variables(pods(r)[prefix+"-"+service].Spec.Containers[0])["BEACONPOST_NATS_URL"], values)
		}
		server := map[string]string{"app.kubernetes.io/name": want.name, "app.kubernetes.io/instance": chart.Release, "app.kubernetes.io/component": "nats"}
		require.True(t, reaches(t, r, podOf(t, r, "ingest"), destination{pod: server, protocol: core.ProtocolTCP, port: 4222}), values)
	}
}
