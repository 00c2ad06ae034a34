package deploy_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

// pods are the templates of everything that runs, by the name of what runs it.
func pods(r *chart.Rendered) map[string]core.PodTemplateSpec {
	all := map[string]core.PodTemplateSpec{}
	for _, d := range chart.All[apps.Deployment](r) {
		all[d.Name] = d.Spec.Template
	}
	for _, j := range chart.All[batch.Job](r) {
		all[j.Name] = j.Spec.Template
	}
	return all
}

var version = regexp.MustCompile(`^[^:@]+:[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?$`)

// Pods satisfy the restricted profile of Pod Security, and what we ask for beyond it.
func TestPodsAreRestricted(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		for name, pod := range pods(r) {
			spec := pod.Spec
			require.False(t, *spec.AutomountServiceAccountToken, name)
			require.False(t, *spec.EnableServiceLinks, name)
			require.True(t, *spec.SecurityContext.RunAsNonRoot, name)
			require.EqualValues(t, 65532, *spec.SecurityContext.RunAsUser, name)
			require.Equal(t, core.SeccompProfileTypeRuntimeDefault, spec.SecurityContext.SeccompProfile.Type, name)
			require.False(t, spec.HostNetwork || spec.HostPID || spec.HostIPC, name)
			for _, sysctl := range spec.SecurityContext.Sysctls {
				require.Equal(t, "net.ipv4.ping_group_range", sysctl.Name, "the profile permits few")
			}
			require.Len(t, spec.Containers, 1, name)
			c := spec.Containers[0]
			require.Regexp(t, version, c.Image, name)
			require.NotContains(t, c.Image, ":latest", name)
			require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, name)
			require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, name)
			require.Equal(t, []core.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, name)
			require.Empty(t, c.SecurityContext.Capabilities.Add, name)
			require.False(t, c.Resources.Requests.Cpu().IsZero(), name)
			require.False(t, c.Resources.Requests.Memory().IsZero(), name)
			require.False(t, c.Resources.Limits.Memory().IsZero(), name)
			require.True(t, c.Resources.Limits.Cpu().IsZero(), "%s: a limit of CPU makes answers late while there is CPU left", name)
			for _, volume := range spec.Volumes {
				require.Nil(t, volume.HostPath, name)
			}
		}
	})
}

// Services are asked the right questions, and get the time to stop.
func TestProbesAndStops(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		for _, d := range chart.All[apps.Deployment](r) {
			spec := d.Spec.Template.Spec
			c := spec.Containers[0]
			for path, probe := range map[string]*core.Probe{"/healthz": c.StartupProbe, "/readyz": c.ReadinessProbe} {
				require.Equal(t, path, probe.HTTPGet.Path)
				require.Equal(t, "admin", probe.HTTPGet.Port.StrVal)
			}
			require.Equal(t, "/healthz", c.LivenessProbe.HTTPGet.Path, "a restart mends no database")
			require.Equal(t, []string{"http", "admin"}, []string{c.Ports[0].Name, c.Ports[1].Name})

			require.EqualValues(t, 0, d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue())
			require.NotNil(t, c.Lifecycle.PreStop.Sleep, "the image has no shell")
			grace, err := time.ParseDuration(variables(c)["BEACONPOST_SHUTDOWN_GRACE"])
			require.NoError(t, err)
			var known ingest.Config
			require.NoError(t, config.Load([]string{"BEACONPOST_DATABASE_URL=a", "BEACONPOST_SECRETS_KEYS=" + key(t)}, &known, nil))
			require.Greater(t, grace, known.MaxTimeout, "an attempt in flight may take as long as endpoints are allowed")
			// The steps of pkg/service.Host after preStop: requests, work, admin port.
			steps := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second + 10*time.Second + grace + 10*time.Second + time.Second
			require.Greater(t, time.Duration(*spec.TerminationGracePeriodSeconds)*time.Second, steps)

			require.Len(t, spec.TopologySpreadConstraints, 2)
			for _, spread := range spec.TopologySpreadConstraints {
				require.True(t, selects(t, spread.LabelSelector, d.Spec.Template.Labels))
			}
		}
	})
}

func selects(t *testing.T, selector *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return s.Matches(labels.Set(of))
}

// What selects pods selects those that it is for and no others; a Deployment's never those of another.
func TestSelectors(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		deployments := chart.All[apps.Deployment](r)
		for _, d := range deployments {
			for _, other := range deployments {
				require.Equal(t, d == other, selects(t, d.Spec.Selector, other.Spec.Template.Labels), "%s, %s", d.Name, other.Name)
			}
			budget := chart.Find[policy.PodDisruptionBudget](r, d.Name)
			require.NotNil(t, budget, d.Name)
			for _, other := range deployments {
				require.Equal(t, d == other, selects(t, budget.Spec.Selector, other.Spec.Template.Labels), "%s, %s", d.Name, other.Name)
			}
			account := chart.Find[core.ServiceAccount](r, d.Spec.Template.Spec.ServiceAccountName)
			require.NotNil(t, account, d.Name)
			require.False(t, *account.AutomountServiceAccountToken)
		}
		for _, s := range chart.All[core.Service](r) {
			component := s.Labels["app.kubernetes.io/component"]
			for name, pod := range pods(r) {
				selected := labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels))
				require.Equal(t, pod.Labels["app.kubernetes.io/component"] == component, selected, "%s, %s", s.Name, name)
				if selected {
					require.Equal(t, s.Spec.Ports[0].Port, pod.Spec.Containers[0].Ports[0].ContainerPort)
				}
			}
			require.Len(t, s.Spec.Ports, 1, "the admin port is not for everybody")
		}
	})
}

func variables(c core.Container) map[string]string {
	all := map[string]string{}
	for _, v := range c.Env {
		all[v.Name] = v.Value
	}
	return all
}

func key(t *testing.T) string {
	t.Helper()
	key, err := secretbox.GenerateKey("k1")
	require.NoError(t, err)
	return key
}

// environ is what the kubelet would set, with a Secret that has everything.
func environ(t *testing.T, c core.Container) []string {
	t.Helper()
	secret := map[string]string{
		"BEACONPOST_DATABASE_URL": "postgres://a:b@c/d", "uri": "postgres://a:b@c/d", "BEACONPOST_NATS_URL": "nats://n:4222", "BEACONPOST_SECRETS_KEYS": key(t),
		"BEACONPOST_SMTP_PASSWORD": "p", "BEACONPOST_OTLP_HEADERS": "a=b",
	}
	var list []string
	names := map[string]bool{}
	for _, v := range c.Env {
		require.False(t, names[v.Name], "%s twice", v.Name)
		names[v.Name] = true
		value := v.Value
		if v.ValueFrom != nil {
			require.Contains(t, secret, v.ValueFrom.SecretKeyRef.Key)
			require.Nil(t, v.ValueFrom.SecretKeyRef.Optional)
			value = secret[v.ValueFrom.SecretKeyRef.Key]
		}
		list = append(list, v.Name+"="+value)
	}
	return list
}

func known() []string {
	return slices.Concat(config.Names(ingest.Config{}), config.Names(delivery.Config{}), config.Names(monitor.Config{}))
}

// Services start with what the chart gives them: unknown variables and values that make no sense stop them.
func TestServicesAcceptTheirVariables(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		for name, pod := range pods(r) {
			c := pod.Spec.Containers[0]
			switch c.Args[0] {
			case "ingest":
				var cfg ingest.Config
				require.NoError(t, config.Load(environ(t, c), &cfg, known()), name)
				require.Equal(t, []string{":8080", ":9090"}, []string{cfg.Listen, cfg.AdminListen})
			case "delivery":
				var cfg delivery.Config
				require.NoError(t, config.Load(environ(t, c), &cfg, known()), name)
				require.Equal(t, []string{":8081", ":9091"}, []string{cfg.Listen, cfg.AdminListen})
			case "monitor":
				var cfg monitor.Config
				require.NoError(t, config.Load(environ(t, c), &cfg, known()), name)
				require.Equal(t, []string{":8082", ":9092"}, []string{cfg.Listen, cfg.AdminListen})
				require.Equal(t, pod.Labels["beaconpost.io/region"], cfg.Monitor.Region)
			case "migrate":
				require.Equal(t, []string{"migrate", "up"}, c.Args)
				require.Contains(t, variables(c), "BEACONPOST_DATABASE_URL")
			default:
				require.Fail(t, "what runs here?", name)
			}
		}
	})
}

// The collector of Go knows the limit of memory: nine tenths of it.
func TestGoMemoryLimit(t *testing.T) {
	t.Parallel()
	for limit, want := range map[string]string{"512Mi": "460MiB", "1Gi": "921MiB", "4Gi": "3686MiB", "1000M": ""} {
		r := with(t, `ingest: {resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: `+limit+`}}}`)
		require.Equal(t, want, variables(pods(r)[prefix+"-ingest"].Spec.Containers[0])["GOMEMLIMIT"], limit)
	}
}

// A service's variables win over those of all, a region's over both.
func TestConfigIsLayered(t *testing.T) {
	t.Parallel()
	r := with(t, `{config: {BEACONPOST_LOG_LEVEL: a, BEACONPOST_TRACE_SAMPLE_RATIO: "0.5"}, ingest: {config: {BEACONPOST_LOG_LEVEL: b}}, monitor: {config: {BEACONPOST_LOG_LEVEL: c}, regions: [{name: x}, {name: "y", config: {BEACONPOST_LOG_LEVEL: d}}]}}`)
	levels := map[string]string{}
	for name, pod := range pods(r) {
		levels[name] = variables(pod.Spec.Containers[0])["BEACONPOST_LOG_LEVEL"]
		if pod.Spec.Containers[0].Args[0] != "migrate" {
			require.Equal(t, "0.5", variables(pod.Spec.Containers[0])["BEACONPOST_TRACE_SAMPLE_RATIO"])
		}
	}
	require.Equal(t, map[string]string{
		prefix + "-ingest": "b", prefix + "-delivery": "a", prefix + "-monitor-x": "c", prefix + "-monitor-y": "d", prefix + "-migrate": "",
	}, levels)
}

// `pod` of a service wins over that of all.
func TestPodsAreLayered(t *testing.T) {
	t.Parallel()
	r := render(t, switched(t, "pods"))
	spec := pods(r)[prefix+"-ingest"].Spec
	require.Equal(t, "q", spec.PriorityClassName)
	require.Equal(t, map[string]string{"e": "g", "h": "i"}, spec.NodeSelector)
	for _, name := range []string{prefix + "-delivery", prefix + "-monitor-default", prefix + "-migrate"} {
		pod := pods(r)[name]
		require.Equal(t, "p", pod.Spec.PriorityClassName, name)
		require.Equal(t, map[string]string{"e": "f"}, pod.Spec.NodeSelector, name)
		require.Equal(t, "d", pod.Labels["c"], name)
		require.Equal(t, "b", pod.Annotations["a"], name)
		require.Equal(t, "/ca", variables(pod.Spec.Containers[0])["SSL_CERT_DIR"], name)
		require.Equal(t, "/ca", pod.Spec.Containers[0].VolumeMounts[0].MountPath, name)
		require.Equal(t, "ca", pod.Spec.Volumes[0].Secret.SecretName, name)
		require.Equal(t, "r", pod.Spec.ImagePullSecrets[0].Name, name)
	}
}

// One Deployment of probers for each region, with what is different there.
func TestRegions(t *testing.T) {
	t.Parallel()
	r := render(t, switched(t, "regions"))
	eu, us, away := chart.Find[apps.Deployment](r, prefix+"-monitor-eu"), chart.Find[apps.Deployment](r, prefix+"-monitor-us"), chart.Find[apps.Deployment](r, prefix+"-monitor-away")
	require.EqualValues(t, []int32{1, 2, 0}, []int32{*eu.Spec.Replicas, *us.Spec.Replicas, *away.Spec.Replicas}, "0 is a number too")
	require.Equal(t, map[string]string{"zone": "a"}, eu.Spec.Template.Spec.NodeSelector)
	require.Empty(t, us.Spec.Template.Spec.NodeSelector)
	require.Equal(t, "8", variables(eu.Spec.Template.Spec.Containers[0])["BEACONPOST_MONITOR_CONCURRENCY"])
	require.NotContains(t, variables(us.Spec.Template.Spec.Containers[0]), "BEACONPOST_MONITOR_CONCURRENCY")
	require.Equal(t, "1Gi", us.Spec.Template.Spec.Containers[0].Resources.Requests.Memory().String())
	require.Equal(t, "192Mi", eu.Spec.Template.Spec.Containers[0].Resources.Requests.Memory().String())
	require.Equal(t, "us", variables(us.Spec.Template.Spec.Containers[0])["BEACONPOST_MONITOR_REGION"])
}

// The schema changes before pods do. Where the release brings the database or the Secret itself, the first migration is no hook: those wait for nothing that comes later.
func TestMigrations(t *testing.T) {
	t.Parallel()
	job := func(name string, upgrade bool) *batch.Job {
		r, err := chart.Render(t.Context(), chartDir, switched(t, name), chart.Options{Upgrade: upgrade})
		require.NoError(t, err)
		require.Len(t, chart.All[batch.Job](r), 1)
		return chart.All[batch.Job](r)[0]
	}
	hook := func(j *batch.Job) string { return j.Annotations["helm.sh/hook"] }
	for _, upgrade := range []bool{false, true} {
		require.Equal(t, "pre-install,pre-upgrade", hook(job("nothing", upgrade)))
		require.Equal(t, prefix+"-migrate", job("nothing", upgrade).Name)
		require.Empty(t, job("nothing", upgrade).Spec.Template.Spec.ServiceAccountName, "the accounts of the release are not there yet")
	}
	for _, name := range []string{"own servers", "external secrets"} {
		require.Empty(t, hook(job(name, false)), name)
		require.Equal(t, "pre-upgrade", hook(job(name, true)), name)
		require.NotEqual(t, job(name, false).Name, job(name, true).Name, "a Job of the release and a hook are not the same")
	}
	for _, change := range []string{`image: {tag: 0.0.9}`, `pod: {labels: {a: b}}`, `migrations: {pod: {nodeSelector: {a: b}}}`, `migrations: {backoffLimit: 3}`, `imagePullSecrets: [{name: a}]`} {
		other := chart.All[batch.Job](render(t, chart.Over(switched(t, "own servers"), parse(t, change))))[0]
		require.NotEqual(t, job("own servers", false).Name, other.Name, "%s: a Job's template cannot be changed", change)
	}
	unchanged := chart.Over(switched(t, "own servers"), parse(t, `ingest: {replicas: 5}`))
	require.Equal(t, job("own servers", false).Name, chart.All[batch.Job](render(t, unchanged))[0].Name)
	from := job("migrations by another", false).Spec.Template.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef
	require.Equal(t, []string{"owner", "BEACONPOST_DATABASE_URL"}, []string{from.Name, from.Key})
}

// Nothing secret is in a manifest.
func TestSecretsAreReferences(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		require.Empty(t, chart.All[core.Secret](r))
		for name, pod := range pods(r) {
			for _, v := range pod.Spec.Containers[0].Env {
				if slices.Contains([]string{"BEACONPOST_DATABASE_URL", "BEACONPOST_SECRETS_KEYS", "BEACONPOST_SMTP_PASSWORD", "BEACONPOST_OTLP_HEADERS"}, v.Name) {
					require.NotNil(t, v.ValueFrom, "%s of %s", v.Name, name)
					require.Empty(t, v.Value)
				}
			}
		}
	})
}

// An ExternalSecret brings every key that pods ask the Secret for.
func TestExternalSecret(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"external secrets", "large.yaml"} {
		r := render(t, cases(t)[name])
		var brought, asked []string
		for _, d := range chart.All[chart.ExternalSecret](r)[0].Spec.Data {
			require.Equal(t, d.SecretKey, d.RemoteRef.Property)
			brought = append(brought, d.SecretKey)
		}
		for _, d := range chart.All[apps.Deployment](r) {
			for _, v := range d.Spec.Template.Spec.Containers[0].Env {
				if v.ValueFrom != nil {
					require.Equal(t, chart.All[chart.ExternalSecret](r)[0].Spec.Target.Name, v.ValueFrom.SecretKeyRef.Name)
					asked = append(asked, v.ValueFrom.SecretKeyRef.Key)
				}
			}
		}
		slices.Sort(asked)
		slices.Sort(brought)
		require.Equal(t, slices.Compact(asked), brought, name)
	}
}

// Where the services find the chart's own servers.
func TestOwnServers(t *testing.T) {
	t.Parallel()
	r := render(t, switched(t, "own servers"))
	cluster := chart.Find[chart.Cluster](r, prefix+"-postgres")
	require.NotNil(t, cluster)
	require.Equal(t, "30d", cluster.Spec.Backup.RetentionPolicy)
	require.Equal(t, cluster.Spec.Bootstrap.InitDB.Owner, "beaconpost")
	require.Equal(t, []string{"ALTER ROLE beaconpost CREATEROLE"}, cluster.Spec.Bootstrap.InitDB.PostInitApplicationSQL)
	for name, pod := range pods(r) {
		for _, v := range pod.Spec.Containers[0].Env {
			switch v.Name {
			case "BEACONPOST_DATABASE_URL":
				require.Equal(t, []string{prefix + "-postgres-app", "uri"}, []string{v.ValueFrom.SecretKeyRef.Name, v.ValueFrom.SecretKeyRef.Key}, name)
			case "BEACONPOST_NATS_URL":
				require.Equal(t, "nats://shop-nats:4222", v.Value, name)
			}
		}
	}
}

// Postgres takes the connections of as many pods as there may be, and one more of each Deployment while it is rolled.
func TestExamplesHaveTheConnections(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"laptop.yaml", "small.yaml"} {
		r := render(t, read(t, filepath.Join(chartDir, "examples", name)))
		most, err := strconv.Atoi(chart.All[chart.Cluster](r)[0].Spec.PostgreSQL.Parameters["max_connections"])
		require.NoError(t, err)
		connections := 10 // of the operator and the migration
		for _, d := range chart.All[apps.Deployment](r) {
			perPod := 10
			if text := variables(d.Spec.Template.Spec.Containers[0])["BEACONPOST_DATABASE_MAX_CONNS"]; text != "" {
				perPod, err = strconv.Atoi(text)
				require.NoError(t, err)
			}
			connections += (int(*d.Spec.Replicas) + 1) * perPod
		}
		require.LessOrEqual(t, connections, most, name)
	}
}

// Copies of streams are as many as there are servers for them.
func TestExamplesHaveTheServersForCopies(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"laptop.yaml", "small.yaml"} {
		values := chart.Over(read(t, filepath.Join(chartDir, "values.yaml")), read(t, filepath.Join(chartDir, "examples", name)))
		cluster := values["nats"].(map[string]any)["config"].(map[string]any)["cluster"].(map[string]any)
		servers := 1
		if cluster["enabled"].(bool) {
			servers = int(cluster["replicas"].(float64))
		}
		copies := 1
		if text, ok := values["config"].(map[string]any)["BEACONPOST_STREAM_REPLICAS"].(string); ok {
			var err error
			copies, err = strconv.Atoi(strings.TrimSpace(text))
			require.NoError(t, err)
		}
		require.Equal(t, servers, copies, name)
	}
}
