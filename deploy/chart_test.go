package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

const (
	chartDir = "k8s/beaconpost"
	prefix   = "shop-beaconpost" // of names
)

// external is the least that an installation with its own Postgres and NATS says.
const external = `
networkPolicy:
  postgresTo: [{ipBlock: {cidr: 10.9.0.5/32}}]
  natsTo: [{podSelector: {matchLabels: {app: broker}}}]
`

// switches are features, each on its own over external.
var switches = map[string]string{
	"nothing":                ``,
	"ingest autoscaled":      `ingest: {autoscaling: {enabled: true}}`,
	"delivery by HPA":        `delivery: {autoscaling: {enabled: true}}`,
	"delivery by KEDA":       `delivery: {autoscaling: {enabled: true, keda: {enabled: true, prometheusAddress: "http://prometheus:9090"}}}`,
	"delivery by KEDA, NATS": `delivery: {autoscaling: {enabled: true, keda: {enabled: true, trigger: nats-jetstream, natsMonitoringEndpoint: "nats:8222"}}}`,
	"KEDA, own NATS":         `{nats: {enabled: true}, delivery: {autoscaling: {enabled: true, keda: {enabled: true, trigger: nats-jetstream}}}}`,
	"regions":                `monitor: {regions: [{name: eu, replicas: 1, config: {BEACONPOST_MONITOR_CONCURRENCY: "8"}, pod: {nodeSelector: {zone: a}}}, {name: us, resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}}, {name: away, replicas: 0}]}`,
	"only ingest":            `{delivery: {enabled: false}, monitor: {enabled: false}, ingress: {enabled: true, host: a.example}, httpRoute: {enabled: true, parentRefs: [{name: g}]}}`,
	"only delivery":          `{ingest: {enabled: false}, monitor: {enabled: false}}`,
	"only probers":           `{ingest: {enabled: false}, delivery: {enabled: false}, migrations: {enabled: false}}`,
	"no migrations":          `migrations: {enabled: false}`,
	"migrations by another":  `migrations: {secretName: owner, pod: {nodeSelector: {a: b}}}`,
	"Ingress":                `ingress: {enabled: true, className: nginx, host: hooks.example, tlsSecret: hooks, annotations: {a: b}}`,
	"Ingress, any host":      `ingress: {enabled: true}`,
	"HTTPRoute":              `httpRoute: {enabled: true, parentRefs: [{name: g, namespace: gateways, sectionName: https, port: 443}], hostnames: [hooks.example], annotations: {a: b}}`,
	"no network policies":    `networkPolicy: {enabled: false}`,
	"network policies":       `{networkPolicy: {apiFrom: [{namespaceSelector: {}}], metricsFrom: [], extraEgress: [{to: [{ipBlock: {cidr: 10.1.1.1/32}}], ports: [{port: 25, protocol: TCP}]}], otlpTo: [{podSelector: {}}]}, config: {BEACONPOST_OTLP_ENDPOINT: "http://collector:4318", BEACONPOST_NETWORK_PORTS: "443,8443", BEACONPOST_NETWORK_ALLOW: "10.4.0.0/16,fd00:4::/64", BEACONPOST_NETWORK_DENY: "9.9.0.0/16,2a00::/16,fd00::/8", BEACONPOST_MONITOR_NETWORK_ALLOW_PRIVATE: "true", BEACONPOST_MONITOR_NETWORK_PORTS: "443", BEACONPOST_MONITOR_NAMESERVER: "9.9.9.9:53", BEACONPOST_MONITOR_CANARIES: "one.example:53,[2606:4700::1111]:853", BEACONPOST_SMTP_HOST: smtp.example, BEACONPOST_SMTP_FROM: "a@b.example"}}`,
	"keys by URL":            `auth: {jwksURL: "https://id.example/jwks", issuer: i, audience: a}`,
	"keys given":             `auth: {jwks: '{"keys":[]}', issuer: i, audience: a}`,
	"external secrets":       `{secret: {optional: [BEACONPOST_SMTP_PASSWORD, BEACONPOST_OTLP_HEADERS], externalSecret: {enabled: true, storeRef: {name: vault}}}, broker: {url: "nats://broker:4222"}}`,
	"monitoring":             `metrics: {podMonitor: {enabled: true, labels: {a: b}}, prometheusRule: {enabled: true, labels: {a: b}}, dashboards: {enabled: true, annotations: {a: b}}}`,
	"own servers":            `{nats: {enabled: true}, postgres: {cluster: {enabled: true, imageName: "pg:17", spec: {backup: {retentionPolicy: 30d}}}}, networkPolicy: {postgresTo: [], natsTo: []}}`,
	"pods":                   `{pod: {annotations: {a: b}, labels: {c: d}, nodeSelector: {e: f}, tolerations: [{key: g, operator: Exists}], affinity: {nodeAffinity: {}}, priorityClassName: p, env: [{name: SSL_CERT_DIR, value: /ca}], volumes: [{name: ca, secret: {secretName: ca}}], volumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]}, ingest: {pod: {priorityClassName: q, nodeSelector: {e: g, h: i}}}, imagePullSecrets: [{name: r}], serviceAccount: {annotations: {s: t}}}`,
	"image":                  `image: {repository: registry.example/beaconpost, tag: 1.2.3, digest: "sha256:0123456789012345678901234567890123456789012345678901234567890123"}`,
	"names":                  `{fullnameOverride: other, nameOverride: bp}`,
	"long names":             `{fullnameOverride: as-long-a-name-as-anybody-could-think-of-and-then-some, monitor: {regions: [{name: a-region-of-thirty-two-character}]}, image: {tag: v1.2.3-0.20261125004012-abcdefabcdef-and-what-else-there-is-to-say}}`,
}

// cases are the values of every example and every switch.
func cases(t *testing.T) map[string]chart.Values {
	t.Helper()
	all := map[string]chart.Values{}
	files, err := filepath.Glob(chartDir + "/examples/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, file := range files {
		all[filepath.Base(file)] = read(t, file)
	}
	for name := range switches {
		all[name] = switched(t, name)
	}
	return all
}

func read(t *testing.T, file string) chart.Values {
	t.Helper()
	values, err := chart.Read(file)
	require.NoError(t, err)
	return values
}

func parse(t *testing.T, text string) chart.Values {
	t.Helper()
	values, err := chart.Parse(text)
	require.NoError(t, err, text)
	return values
}

func switched(t *testing.T, name string) chart.Values {
	t.Helper()
	text, ok := switches[name]
	require.True(t, ok, name)
	return chart.Over(parse(t, external), parse(t, text))
}

func render(t *testing.T, values chart.Values) *chart.Rendered {
	t.Helper()
	r, err := chart.Render(t.Context(), chartDir, values, chart.Options{})
	require.NoError(t, err)
	return r
}

// with renders an installation with its own Postgres and NATS, and what the text says.
func with(t *testing.T, text string) *chart.Rendered {
	t.Helper()
	return render(t, chart.Over(parse(t, external), parse(t, text)))
}

// each runs a test for every case.
func each(t *testing.T, test func(t *testing.T, r *chart.Rendered)) {
	t.Helper()
	t.Parallel()
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, render(t, values))
		})
	}
}

// Every example and every switch passes `helm lint`, and becomes manifests that the API's types have, each once, at an install and an upgrade.
func TestLintAndTypes(t *testing.T) {
	t.Parallel()
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problems := slices.DeleteFunc(chart.Lint(chartDir, values), func(problem string) bool {
				return strings.Contains(problem, "missing these dependencies: nats") // `helm dependency build` brings it
			})
			require.Empty(t, problems)
			for _, upgrade := range []bool{false, true} {
				r, err := chart.Render(t.Context(), chartDir, values, chart.Options{Upgrade: upgrade})
				require.NoError(t, err)
				names := map[string]bool{}
				for _, o := range r.Objects {
					require.False(t, names[o.Kind+" "+o.Name], "%s %s twice", o.Kind, o.Name)
					names[o.Kind+" "+o.Name] = true
					require.Empty(t, o.Namespace, "a release is where Helm puts it")
					require.Equal(t, chart.Release, o.Labels["app.kubernetes.io/instance"], "%s %s", o.Kind, o.Name)
					require.Equal(t, "Helm", o.Labels["app.kubernetes.io/managed-by"], "%s %s", o.Kind, o.Name)
					requireNames(t, o)
				}
				require.NotEmpty(t, r.Notes)
			}
		})
	}
}

// requireNames wants names and labels that the API server takes.
func requireNames(t *testing.T, o chart.Object) {
	t.Helper()
	require.Empty(t, validation.IsDNS1123Subdomain(o.Name), "%s %s", o.Kind, o.Name)
	if o.Kind == "Service" {
		require.Empty(t, validation.IsDNS1035Label(o.Name), o.Name)
	}
	for key, value := range o.Labels {
		require.Empty(t, validation.IsQualifiedName(key), "%s of %s", key, o.Name)
		require.Empty(t, validation.IsValidLabelValue(value), "%s of %s", key, o.Name)
	}
	for key := range o.Annotations {
		require.Empty(t, validation.IsQualifiedName(key), "%s of %s", key, o.Name)
	}
}

// The strictness that the other tests rely on.
func TestMisspeltFieldsFail(t *testing.T) {
	t.Parallel()
	_, err := chart.Render(t.Context(), chartDir, chart.Over(parse(t, external), parse(t, `pod: {tolerations: [{kee: a}]}`)), chart.Options{})
	require.ErrorContains(t, err, `unknown field`)
}

// What is asked for is made, and what is not is not.
func TestSwitches(t *testing.T) {
	t.Parallel()
	kinds := func(name string) map[string]int {
		count := map[string]int{}
		for _, o := range render(t, switched(t, name)).Objects {
			count[o.Kind]++
		}
		return count
	}
	base := map[string]int{"Deployment": 3, "Service": 3, "ServiceAccount": 3, "PodDisruptionBudget": 3, "Job": 1, "NetworkPolicy": 5}
	differs := func(by map[string]int) map[string]int {
		want := maps.Clone(base)
		for kind, n := range by {
			if want[kind] += n; want[kind] == 0 {
				delete(want, kind)
			}
		}
		return want
	}
	for name, by := range map[string]map[string]int{
		"nothing":             {},
		"ingest autoscaled":   {"HorizontalPodAutoscaler": 1},
		"delivery by HPA":     {"HorizontalPodAutoscaler": 1},
		"delivery by KEDA":    {"ScaledObject": 1},
		"regions":             {"Deployment": 2, "PodDisruptionBudget": 2, "NetworkPolicy": 2},
		"only probers":        {"Deployment": -2, "Service": -2, "ServiceAccount": -2, "PodDisruptionBudget": -2, "Job": -1, "NetworkPolicy": -3},
		"no migrations":       {"Job": -1, "NetworkPolicy": -1},
		"Ingress":             {"Ingress": 1},
		"HTTPRoute":           {"HTTPRoute": 1},
		"no network policies": {"NetworkPolicy": -5},
		"keys given":          {"ConfigMap": 1},
		"external secrets":    {"ExternalSecret": 1},
		"own servers":         {"Cluster": 1},
		"monitoring":          {"PodMonitor": 1, "PrometheusRule": 1, "ConfigMap": 6},
	} {
		require.Equal(t, differs(by), kinds(name), name)
	}
}

// What is missing is told by name, before anything is installed.
func TestMissingValuesAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`networkPolicy: {postgresTo: []}`:                                                          "networkPolicy.postgresTo: where is Postgres?",
		`networkPolicy: {natsTo: []}`:                                                              "networkPolicy.natsTo: where is NATS?",
		`config: {BEACONPOST_OTLP_ENDPOINT: "http://c:4318"}`:                                      "networkPolicy.otlpTo: where is the collector",
		`httpRoute: {enabled: true}`:                                                               "httpRoute.parentRefs",
		`ingress: {enabled: true, tlsSecret: a}`:                                                   "ingress.host",
		`secret: {externalSecret: {enabled: true}}`:                                                "secret.externalSecret.storeRef.name",
		`auth: {jwksURL: "https://a"}`:                                                             "auth.issuer and auth.audience",
		`auth: {jwks: "{}", jwksURL: "https://a", issuer: a, audience: a}`:                         "one of them",
		`delivery: {autoscaling: {enabled: true, keda: {enabled: true}}}`:                          "delivery.autoscaling.keda.prometheusAddress",
		`delivery: {autoscaling: {enabled: true, keda: {enabled: true, trigger: nats-jetstream}}}`: "delivery.autoscaling.keda.natsMonitoringEndpoint",
	} {
		_, err := chart.Render(t.Context(), chartDir, chart.Over(parse(t, external), parse(t, text)), chart.Options{})
		require.ErrorContains(t, err, want, text)
	}
	_, err := chart.Render(t.Context(), chartDir, nil, chart.Options{})
	require.ErrorContains(t, err, "networkPolicy.postgresTo")
}

// The schema refuses what no template reads, at every level, and values that cannot be.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`ingres: {}`, `image: {tags: a}`, `image: {tag: latest}`, `image: {tag: ""  , digest: "md5:1"}`, `ingest: {replica: 2}`, `ingest: {replicas: "2"}`, `ingest: {replicas: -1}`,
		`ingest: {autoscaling: {keda: {enabled: true}}}`, `ingest: {autoscaling: {targetCpu: 1}}`, `delivery: {autoscaling: {keda: {trigger: nats}}}`, `monitor: {region: a}`,
		`monitor: {regions: []}`, `monitor: {regions: [{}]}`, `monitor: {regions: [{name: EU}]}`, `monitor: {regions: [{name: a, replica: 1}]}`, `config: {BEACONPOST_LOGLEVEL: info}`,
		`config: {LOG_LEVEL: info}`, `config: {BEACONPOST_DATABASE_MAX_CONNS: 10}`, `config: {BEACONPOST_TRACE_SAMPLE_RATIO: 0.1}`, `config: {BEACONPOST_NETWORK_HTTPS_ONLY: true}`,
		// Those that another value is for, or that are secret.
		`config: {BEACONPOST_LISTEN: ":1"}`, `config: {BEACONPOST_DATABASE_URL: "postgres://a:b@c"}`, `config: {BEACONPOST_SECRETS_KEYS: "k1:a"}`, `config: {BEACONPOST_SMTP_PASSWORD: a}`,
		`config: {BEACONPOST_SHUTDOWN_GRACE: 1s}`, `monitor: {config: {BEACONPOST_MONITOR_REGION: a}}`, `config: {BEACONPOST_AUTH_JWKS: a}`, `pod: {env: [{name: BEACONPOST_X, value: a}]}`,
		`secret: {optional: [BEACONPOST_DATABASE_URL]}`, `secret: {optional: [BEACONPOST_LOG_LEVEL]}`, `secret: {names: a}`, `secret: {externalSecret: {storeRef: {kind: Store}}}`,
		`ingest: {resources: {limits: null}}`, `ingest: {resources: {limits: {memory: null}}}`, `ingest: {resources: {requests: {cpu: 1 core, memory: 1Gi}, limits: {memory: 1Gi}}}`,
		`networkPolicy: {postgresTo: [{cidr: 10.0.0.0/8}]}`, `networkPolicy: {postgresTo: [{}]}`, `networkPolicy: {natsTo: {podSelector: {}}}`, `networkPolicy: {allow: []}`, `networkPolicy: {postgresPort: 0}`,
		`ingress: {hosts: [a]}`, `httpRoute: {parentRefs: [{namespace: a}]}`, `metrics: {serviceMonitor: {enabled: true}}`, `metrics: {podMonitor: {interval: 15}}`, `migrations: {backoffLimits: 1}`,
		`broker: {url: "http://a"}`, `auth: {jwksURL: /a}`, `preStopSeconds: 0`, `shutdownGraceSeconds: 30s`, `postgres: {enabled: true}`, `postgres: {cluster: {parameters: {max_connections: 100}}}`,
		`nats: {enabled: 1}`, `ingest: {podDisruptionBudget: {maxUnavailable: 1, minAvailable: 1}}`, `pod: {nodeselector: {}}`,
	} {
		_, err := chart.Render(t.Context(), chartDir, chart.Over(parse(t, external), parse(t, text)), chart.Options{})
		require.ErrorContains(t, err, "values don't meet the specifications of the schema", text)
	}
}

// NOTES.txt says what to do next.
func TestNotes(t *testing.T) {
	t.Parallel()
	notes := with(t, "").Notes
	for _, want := range []string{
		"create secret generic beaconpost \\\n     --from-literal=BEACONPOST_DATABASE_URL='postgres://…' \\\n     --from-literal=BEACONPOST_NATS_URL='nats://…' \\\n     --from-literal=BEACONPOST_SECRETS_KEYS=\"$(beaconpost keygen --id k1)\"\n",
		"kubectl -n webhooks wait --for=condition=Available deployment -l app.kubernetes.io/instance=shop", "port-forward service/" + prefix + "-ingest 8080", "nobody who may make a tenant",
	} {
		require.Contains(t, notes, want)
	}
	small := render(t, read(t, chartDir+"/examples/small.yaml")).Notes
	require.Contains(t, small, "create secret generic beaconpost \\\n     --from-literal=BEACONPOST_SECRETS_KEYS")
	require.Contains(t, small, "https://hooks.example.com")
	require.NotContains(t, small, "nobody who may make a tenant")
	upgraded, err := chart.Render(t.Context(), chartDir, parse(t, external), chart.Options{Upgrade: true})
	require.NoError(t, err)
	require.Contains(t, upgraded.Notes, "kubectl -n webhooks rollout status deployment -l app.kubernetes.io/instance=shop")
	require.NotContains(t, upgraded.Notes, "create secret")
}

// The chart has no file that only a checkout has: what is behind the link to the alerts and dashboards goes into a package too.
func TestObservabilityIsLinked(t *testing.T) {
	t.Parallel()
	target, err := os.Readlink(chartDir + "/observability")
	require.NoError(t, err)
	require.Equal(t, "../observability", target)
}
