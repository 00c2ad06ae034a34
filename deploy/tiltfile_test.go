package deploy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
	"github.com/beaconpost/beaconpost/deploy/internal/tiltfile"
)

// tiltHost is a machine with the sources, but no cluster, no Helm and no network: charts are rendered by Helm's library, commands are only noted.
type tiltHost struct {
	tiltfile.Host
	commands *[]string
}

func newTiltHost(t *testing.T) tiltHost {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"Tiltfile", "deploy"} {
		source, err := filepath.Abs(filepath.Join("..", name))
		require.NoError(t, err)
		require.NoError(t, os.Symlink(source, filepath.Join(dir, name)))
	}
	h := tiltHost{commands: &[]string{}}
	h.Dir, h.Context = dir, "kind-kind"
	h.Exists = func(string) bool { return false }
	h.Local = func(command string) error {
		*h.commands = append(*h.commands, command)
		if command != "deploy/tilt/keys.sh" {
			return nil
		}
		return writeKeys(filepath.Join(dir, "data/cluster"))
	}
	h.Helm = func(path, name, namespace string, files []string) (string, error) {
		values := chart.Values{}
		for _, file := range files {
			next, err := chart.Read(filepath.Join(dir, file))
			if err != nil {
				return "", err
			}
			values = chart.Over(values, next)
		}
		r, err := chart.Render(t.Context(), filepath.Join(dir, path), values, chart.Options{Name: name, Namespace: namespace})
		if err != nil {
			return "", err
		}
		var all []string
		for _, o := range r.Objects {
			all = append(all, o.Text)
		}
		return strings.Join(all, "\n---\n"), nil
	}
	return h
}

// writeKeys writes what keys.sh does, without keys.
func writeKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets.keys"), []byte("tilt:key\n"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "values.yaml"), []byte("auth: {issuer: i, audience: a, jwks: '{}'}\n"), 0o600)
}

func loadTiltfile(t *testing.T) (*tiltfile.Result, []string) {
	t.Helper()
	h := newTiltHost(t)
	r, err := tiltfile.Load(h.Host)
	require.NoError(t, err)
	return r, *h.commands
}

// The resources of `tilt up`, what each waits for, and where it is reached.
func TestTiltfileResources(t *testing.T) {
	t.Parallel()
	r, commands := loadTiltfile(t)
	require.Equal(t, []string{"deploy/tilt/keys.sh", "helm dependency update " + "deploy/" + chartDir}, commands)

	service := []string{"compile", "migrate", "nats"}
	waits := map[string][]string{
		"setup": nil, "compile": nil, "compile-migrate": nil, "postgres": {"setup"}, "nats": {"setup"}, "migrate": {"compile-migrate", "postgres"},
		"ingest": service, "delivery": service, "monitor": service,
		"prometheus": {"setup"}, "jaeger": {"setup"}, "grafana": {"setup", "prometheus", "jaeger"},
		"receiver": {"compile", "setup"}, "receiver-broken": {"compile", "setup"}, "traffic": {"ingest", "delivery", "monitor", "receiver", "receiver-broken"},
		"test": nil, "lint": nil, "test-deploy": nil, "bench-smoke": nil,
	}
	got := map[string][]string{}
	for name, resource := range r.Resources {
		got[name] = resource.Deps
		require.Len(t, resource.Labels, 1, name)
		button := slices.Contains([]string{"traffic", "test", "lint", "test-deploy", "bench-smoke"}, name)
		require.Equal(t, button, resource.OnlyByButton, name)
	}
	require.Equal(t, waits, got)

	taken := map[int]string{}
	for name, resource := range r.Resources {
		for here, there := range resource.Forwards {
			require.Empty(t, taken[here], "port %d of this machine is that of %s too", here, name)
			taken[here] = name
			ports := resource.Pod().Spec.Containers[0].Ports
			require.True(t, slices.ContainsFunc(ports, func(p core.ContainerPort) bool { return int(p.ContainerPort) == there }), "%s has no port %d", name, there)
		}
	}
	for name, ports := range map[string][]int{"ingest": {8080, 9090}, "delivery": {8081, 9091}, "monitor": {8082, 9092}, "prometheus": {9095}, "grafana": {3000}, "jaeger": {16686}} {
		for _, port := range ports {
			require.Equal(t, name, taken[port])
		}
	}
}

// A program that changes is put where the image's script looks for it; migrations have an image of their own, which only migrations change.
func TestTiltfileImages(t *testing.T) {
	t.Parallel()
	r, _ := loadTiltfile(t)
	require.Len(t, r.Images, 2)
	live, once := r.Images["beaconpost-dev"], r.Images["beaconpost-dev-migrate"]
	require.Equal(t, map[string]string{live.Context + "/beaconpost": "/live/beaconpost"}, live.Sync)
	require.Equal(t, []string{"kill -HUP 1"}, live.Run)
	require.Empty(t, once.Sync)
	for compile, image := range map[string]tiltfile.Image{"compile": live, "compile-migrate": once} {
		require.Equal(t, "deploy/tilt/Dockerfile", image.Dockerfile)
		require.Equal(t, []string{"beaconpost"}, image.Only)
		require.Contains(t, r.Resources[compile].Cmd, "CGO_ENABLED=0 GOOS=linux go build")
		require.Contains(t, r.Resources[compile].Cmd, " -o "+image.Context+"/ ")
	}
	for _, source := range append(r.Resources["compile"].Sources, r.Resources["compile-migrate"].Sources...) {
		_, err := os.Stat(filepath.Join("..", source))
		require.NoError(t, err)
	}
	require.Contains(t, r.Resources["compile-migrate"].Sources, "migrations")
	require.NotContains(t, r.Resources["compile-migrate"].Sources, "services")
	for name, want := range map[string]string{"ingest": "beaconpost-dev", "delivery": "beaconpost-dev", "monitor": "beaconpost-dev", "receiver": "beaconpost-dev", "migrate": "beaconpost-dev-migrate"} {
		require.Equal(t, want, strings.TrimSuffix(r.Resources[name].Pod().Spec.Containers[0].Image, ":dev"), name)
	}
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	for _, check := range []string{"test", "lint", "test-deploy", "bench-smoke"} {
		require.Equal(t, "make "+check, r.Resources[check].Cmd)
		require.Contains(t, string(makefile), "\n"+check+":")
	}
	script, dir, _ := strings.Cut(strings.TrimPrefix(r.Resources["traffic"].ServeCmd, "exec "), " ")
	require.FileExists(t, filepath.Join("..", script))
	require.Equal(t, "data/cluster", dir)
}

// Everything is in the namespace, has what it mounts, and of the files of deploy/compose nothing is left that is of one machine.
func TestTiltfileObjects(t *testing.T) {
	t.Parallel()
	r, _ := loadTiltfile(t)
	configs, accounts, services := map[string]*core.ConfigMap{}, map[string]bool{}, map[string]bool{}
	var secret *core.Secret
	for _, resource := range r.Resources {
		for _, o := range resource.Objects {
			require.True(t, o.Namespace == "beaconpost" || o.Kind == "Namespace", "%s %s", o.Kind, o.Name)
			switch typed := o.Typed.(type) {
			case *core.ConfigMap:
				configs[o.Name] = typed
			case *core.ServiceAccount:
				accounts[o.Name] = true
			case *core.Service:
				services[o.Name] = true
			case *core.Secret:
				secret = typed
			}
		}
	}
	for name, resource := range r.Resources {
		pod := resource.Pod()
		if pod == nil {
			continue
		}
		require.True(t, pod.Spec.ServiceAccountName == "" || accounts[pod.Spec.ServiceAccountName], name)
		for _, v := range pod.Spec.Volumes {
			if v.ConfigMap != nil {
				require.NotNil(t, configs[v.ConfigMap.Name], "%s mounts %s", name, v.ConfigMap.Name)
			}
		}
		for _, v := range pod.Spec.Containers[0].Env {
			if v.ValueFrom != nil {
				require.Equal(t, secret.Name, v.ValueFrom.SecretKeyRef.Name)
				require.Contains(t, secret.StringData, v.ValueFrom.SecretKeyRef.Key)
			}
		}
	}
	require.Equal(t, "tilt:key", secret.StringData["BEACONPOST_SECRETS_KEYS"])
	for _, service := range []string{"postgres", "nats", "jaeger", "prometheus", "receiver", "receiver-broken", "ingest-admin", "delivery-admin", "monitor-admin"} {
		require.True(t, services[service], service)
	}

	for _, name := range []string{"prometheus", "jaeger", "grafana-datasources", "grafana-providers"} {
		for file, text := range configs[name].Data {
			require.NotContains(t, text, "127.0.0.1", "%s: %s", name, file)
			var parsed map[string]any
			require.NoError(t, sigsyaml.UnmarshalStrict([]byte(text), &parsed), "%s: %s", name, file)
		}
	}
	require.Contains(t, configs["grafana-datasources"].Data["beaconpost.yaml"], "http://prometheus:9095")
	require.Contains(t, configs["grafana-datasources"].Data["beaconpost.yaml"], "http://jaeger:16686")
	require.Contains(t, configs["jaeger"].Data["config.yaml"], "0.0.0.0:4318")
	alerts, err := os.ReadFile("k8s/observability/alerts.yaml")
	require.NoError(t, err)
	require.Equal(t, string(alerts), configs["prometheus"].Data["alerts.yaml"])
	for _, service := range []string{"ingest", "delivery", "monitor"} {
		require.Contains(t, configs["prometheus"].Data["prometheus.yml"], service+"-admin")
	}
	require.Contains(t, configs["grafana-providers"].Data["beaconpost.yaml"], "/etc/beaconpost/dashboards")
}

// Without a cluster there is nothing of one; with one that is not for development nothing is done.
func TestTiltfileElsewhere(t *testing.T) {
	t.Parallel()
	h := newTiltHost(t)
	h.Context, h.Flags = "", map[string]bool{"host": true}
	r, err := tiltfile.Load(h.Host)
	require.NoError(t, err)
	require.Len(t, r.Resources, 6)
	require.Equal(t, []string{"build"}, r.Resources["beaconpost"].Deps)
	require.Empty(t, *h.commands)

	h = newTiltHost(t)
	h.Context = "production"
	_, err = tiltfile.Load(h.Host)
	require.ErrorContains(t, err, "The current context is production")
	require.Empty(t, *h.commands)
}
