package deploy_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// under says whether a path is a prefix or below it, element by element, as both APIs define it.
func under(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// byIngress gives the service that a path is sent to: the longest prefix wins.
func byIngress(t *testing.T, i *networking.Ingress, path string) (service, prefix string) {
	t.Helper()
	for _, p := range i.Spec.Rules[0].HTTP.Paths {
		require.Equal(t, networking.PathTypePrefix, *p.PathType)
		require.Equal(t, "http", p.Backend.Service.Port.Name)
		if under(path, p.Path) && (service == "" || len(p.Path) > len(prefix)) {
			service, prefix = p.Backend.Service.Name, p.Path
		}
	}
	return service, prefix
}

func byRoute(r *gateway.HTTPRoute, path string) (service, prefix string) {
	for _, rule := range r.Spec.Rules {
		for _, match := range rule.Matches {
			if under(path, *match.Path.Value) && (service == "" || len(*match.Path.Value) > len(prefix)) {
				service, prefix = string(rule.BackendRefs[0].Name), *match.Path.Value
			}
		}
	}
	return service, prefix
}

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// Every path that a service says it has is sent to it, by Ingress and HTTPRoute alike, and each prefix leads somewhere: the lists of the chart cannot go stale.
func TestPathsLeadToTheirService(t *testing.T) {
	t.Parallel()
	ingress := chart.All[networking.Ingress](render(t, switched(t, "Ingress")))[0]
	route := chart.All[gateway.HTTPRoute](render(t, switched(t, "HTTPRoute")))[0]
	used := map[string]bool{}
	for _, name := range []string{"ingest", "delivery", "monitor"} {
		s := start(t, name)
		status, body := get(t, "http://"+s.api+"/openapi/"+name+".json")
		require.Equal(t, http.StatusOK, status)
		var document struct {
			Paths map[string]any `json:"paths"`
		}
		require.NoError(t, json.Unmarshal(body, &document))
		require.Greater(t, len(document.Paths), 3)
		paths := []string{"/openapi/" + name + ".json", "/docs/" + name}
		for path := range document.Paths {
			paths = append(paths, parameter.ReplaceAllString(path, "x"))
		}
		for _, path := range paths {
			service, by := byIngress(t, ingress, path)
			require.Equal(t, prefix+"-"+name, service, path)
			used[by] = true
			service, _ = byRoute(route, path)
			require.Equal(t, prefix+"-"+name, service, path)
		}
	}
	for _, p := range ingress.Spec.Rules[0].HTTP.Paths {
		require.True(t, used[p.Path], "%s leads nowhere", p.Path)
	}
}

// Routes lead to Services that are there, on their ports; of what is disabled none is left.
func TestRoutesHaveServices(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		for _, i := range chart.All[networking.Ingress](r) {
			for _, p := range i.Spec.Rules[0].HTTP.Paths {
				require.NotNil(t, chart.Find[core.Service](r, p.Backend.Service.Name), p.Path)
			}
		}
		for _, route := range chart.All[gateway.HTTPRoute](r) {
			require.LessOrEqual(t, len(route.Spec.Rules), 16)
			for _, rule := range route.Spec.Rules {
				require.LessOrEqual(t, len(rule.Matches), 64)
				service := chart.Find[core.Service](r, string(rule.BackendRefs[0].Name))
				require.NotNil(t, service)
				require.EqualValues(t, service.Spec.Ports[0].Port, *rule.BackendRefs[0].Port)
			}
		}
	})
}
