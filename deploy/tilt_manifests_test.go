package deploy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// tiltManifests are what `tilt up` has beside the chart.
func tiltManifests(t *testing.T) *chart.Rendered {
	t.Helper()
	files, err := filepath.Glob(tiltDir + "/*.yaml")
	require.NoError(t, err)
	all := &chart.Rendered{}
	for _, file := range files {
		if filepath.Base(file) == "values.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		objects, err := chart.Decode(string(text))
		require.NoError(t, err, file)
		all.Objects = append(all.Objects, objects...)
	}
	return all
}

// workloads are the templates of what has pods, by name.
func workloads(r *chart.Rendered) map[string]core.PodTemplateSpec {
	all := pods(r)
	for _, s := range chart.All[apps.StatefulSet](r) {
		all[s.Name] = s.Spec.Template
	}
	return all
}

// The namespace refuses pods that are not restricted, so all of them are. The volumes are those that the profile permits.
func TestTiltPodsAreRestricted(t *testing.T) {
	t.Parallel()
	r := tiltManifests(t)
	require.Equal(t, "restricted", chart.Find[core.Namespace](r, "beaconpost").Labels["pod-security.kubernetes.io/enforce"])
	require.Len(t, workloads(r), 7)
	for name, pod := range workloads(r) {
		spec := pod.Spec
		require.True(t, *spec.SecurityContext.RunAsNonRoot, name)
		require.Positive(t, *spec.SecurityContext.RunAsUser, name)
		require.Equal(t, core.SeccompProfileTypeRuntimeDefault, spec.SecurityContext.SeccompProfile.Type, name)
		require.False(t, *spec.AutomountServiceAccountToken, name)
		require.False(t, spec.HostNetwork || spec.HostPID || spec.HostIPC, name)
		require.Len(t, spec.Containers, 1, name)
		require.Empty(t, spec.InitContainers, name)
		c := spec.Containers[0]
		require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, name)
		require.Equal(t, []core.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, name)
		require.NotNil(t, c.ReadinessProbe, "%s: what needs it waits for it", name)
		require.False(t, c.Resources.Limits.Memory().IsZero(), name)
		for _, v := range spec.Volumes {
			require.True(t, v.ConfigMap != nil || v.EmptyDir != nil || v.Projected != nil, "%s: %s", name, v.Name)
		}
	}
}

// Services lead to the pods and ports that they are named for.
func TestTiltServices(t *testing.T) {
	t.Parallel()
	r := tiltManifests(t)
	for _, o := range r.Objects {
		if o.Kind != "Namespace" {
			require.Equal(t, "beaconpost", o.Namespace, "%s %s", o.Kind, o.Name)
		}
	}
	for _, s := range chart.All[core.Service](r) {
		if strings.HasSuffix(s.Name, "-admin") {
			continue // of the chart's pods
		}
		pod, ok := workloads(r)[s.Name]
		require.True(t, ok, s.Name)
		require.True(t, labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)), s.Name)
		for _, port := range s.Spec.Ports {
			var found int32
			for _, p := range pod.Spec.Containers[0].Ports {
				if p.Name == port.TargetPort.StrVal {
					found = p.ContainerPort
				}
			}
			require.Equal(t, port.Port, found, "%s: %s", s.Name, port.Name)
		}
	}
}

// What is seen is what deploy/compose shows: the same versions, and Grafana the same settings.
func TestTiltImagesAreThoseOfCompose(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("compose/compose.yaml")
	require.NoError(t, err)
	var compose struct {
		Services map[string]struct {
			Image       string            `json:"image"`
			Environment map[string]string `json:"environment"`
		} `json:"services"`
	}
	require.NoError(t, sigsyaml.Unmarshal(text, &compose))
	require.Len(t, compose.Services, 3)
	for name, service := range compose.Services {
		c := workloads(tiltManifests(t))[name].Spec.Containers[0]
		require.Equal(t, service.Image, c.Image, name)
		if name != "grafana" {
			continue
		}
		delete(service.Environment, "GF_SERVER_HTTP_ADDR")
		delete(service.Environment, "GF_SERVER_HTTP_PORT")
		service.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] = "/etc/beaconpost/dashboards/beaconpost-overview.json" // as the chart calls it
		require.Equal(t, service.Environment, variables(c))
	}
}

// tiltRelease is the chart as `tilt up` has it, under the name that the Tiltfile gives it.
func tiltRelease(t *testing.T) *chart.Rendered {
	t.Helper()
	return render(t, chart.Over(read(t, tiltDir+"/values.yaml"), parse(t, `{fullnameOverride: beaconpost, auth: {jwks: "{}", issuer: i, audience: a}}`)))
}

// The chart's pods get to the servers that are beside it, Prometheus to them, and nobody else.
func TestTiltNetwork(t *testing.T) {
	t.Parallel()
	r, beside := tiltRelease(t), workloads(tiltManifests(t))
	for _, name := range []string{"ingest", "delivery", "monitor-default", "migrate"} {
		pod := pods(r)["beaconpost-"+name].Labels
		for server, port := range map[string]int32{"postgres": 5432, "nats": 4222, "jaeger": 4318, "grafana": 3000} {
			want := server != "grafana" && (name != "migrate" || server == "postgres")
			require.Equal(t, want, reaches(t, r, pod, destination{pod: beside[server].Labels, protocol: core.ProtocolTCP, port: port}), "%s to %s", name, server)
		}
		for client, want := range map[string]bool{"prometheus": name != "migrate", "grafana": false} {
			require.Equal(t, want, isScrapedBy(t, r, pod, beside[client].Labels), "%s by %s", name, client)
		}
	}
	for variable, service := range map[string]string{"BEACONPOST_NATS_URL": "nats:4222", "BEACONPOST_OTLP_ENDPOINT": "jaeger:4318"} {
		require.Contains(t, variables(pods(r)["beaconpost-ingest"].Spec.Containers[0])[variable], "//"+service)
	}
}

func isScrapedBy(t *testing.T, r *chart.Rendered, pod, client map[string]string) bool {
	t.Helper()
	for _, p := range chart.All[networking.NetworkPolicy](r) {
		for _, rule := range p.Spec.Ingress {
			if selects(t, &p.Spec.PodSelector, pod) && rule.Ports[0].Port.StrVal == "admin" && slices.ContainsFunc(rule.From, func(peer networking.NetworkPolicyPeer) bool {
				return isPeer(t, peer, netip.Addr{}, nil, client)
			}) {
				return true
			}
		}
	}
	return false
}

// What is put into a container needs a place there: every pod of the program has one, and the root stays read-only.
func TestTiltProgramsCanBeReplaced(t *testing.T) {
	t.Parallel()
	all := pods(tiltRelease(t))
	for name, pod := range pods(tiltManifests(t)) {
		if pod.Spec.Containers[0].Image == "beaconpost-dev" {
			all[name] = pod
		}
	}
	require.Len(t, all, 6)
	for name, pod := range all {
		c := pod.Spec.Containers[0]
		require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, name)
		i := slices.IndexFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == "/live" && !m.ReadOnly })
		require.GreaterOrEqual(t, i, 0, name)
		require.True(t, slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == c.VolumeMounts[i].Name && v.EmptyDir != nil }), name)
	}
}

// Grafana shows all dashboards that the chart makes, and starts with one of them. Prometheus finds the chart's pods.
func TestTiltObservability(t *testing.T) {
	t.Parallel()
	r, beside := tiltRelease(t), tiltManifests(t)
	var made, mounted []string
	files := map[string]bool{}
	for _, c := range chart.All[core.ConfigMap](r) {
		if c.Labels["grafana_dashboard"] == "" {
			continue
		}
		made = append(made, c.Name)
		for file := range c.Data {
			files["/etc/beaconpost/dashboards/"+file] = true
		}
	}
	grafana := workloads(beside)["grafana"].Spec
	for _, v := range grafana.Volumes {
		if v.Projected != nil {
			for _, source := range v.Projected.Sources {
				mounted = append(mounted, source.ConfigMap.Name)
			}
		}
	}
	require.NotEmpty(t, made)
	require.ElementsMatch(t, made, mounted)
	require.True(t, files[variables(grafana.Containers[0])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]])

	for _, service := range []string{"ingest", "delivery", "monitor"} {
		admin := chart.Find[core.Service](beside, service+"-admin")
		require.Equal(t, core.ClusterIPNone, admin.Spec.ClusterIP, "a name that resolves to pods")
		for name, pod := range pods(r) {
			pod.Labels["app.kubernetes.io/instance"] = "beaconpost" // the release's name in the Tiltfile
			selected := labels.SelectorFromSet(admin.Spec.Selector).Matches(labels.Set(pod.Labels))
			require.Equal(t, pod.Labels["app.kubernetes.io/component"] == service, selected, "%s, %s", admin.Name, name)
			if selected {
				require.Equal(t, pod.Spec.Containers[0].Ports[1].ContainerPort, admin.Spec.Ports[0].Port, "Prometheus asks pods, not the Service")
			}
		}
	}
}
