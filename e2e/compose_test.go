package e2e

import (
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// composeProject is deploy/compose as Docker reads it. Fields that the specification does not have fail.
func composeProject(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../deploy/compose/compose.yaml"}, cli.WithResolvedPaths(true))
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	return project
}

// mounted gives the file or directory of this repository that a container finds at a path, "" if there is none.
func mounted(s types.ServiceConfig, at string) string {
	for _, v := range s.Volumes {
		if rest, ok := strings.CutPrefix(at, v.Target); ok && v.Type == types.VolumeTypeBind && (rest == "" || rest[0] == '/') {
			return filepath.Join(v.Source, rest)
		}
	}
	return ""
}

// flagOf gives the value of an argument --name=value.
func flagOf(t *testing.T, s types.ServiceConfig, name string) string {
	t.Helper()
	for _, argument := range s.Command {
		if value, ok := strings.CutPrefix(argument, "--"+name+"="); ok {
			return value
		}
	}
	require.Fail(t, "no argument --"+name, s.Name)
	return ""
}

// decodeStrictly reads YAML into a value that has all of its fields.
func decodeStrictly(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.Open(file)
	require.NoError(t, err)
	defer text.Close()
	decoder := yaml.NewDecoder(text)
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(into), file)
}

// requireLoopback holds that an address is one of this machine's own, and gives its port.
func requireLoopback(t *testing.T, address string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", host)
	return port
}

var exactImage = regexp.MustCompile(`^[a-z.]+/[a-z]+/[a-z]+:v?\d+\.\d+\.\d+$`)

// Images are exact versions, and whatever is mounted exists, is ours, and cannot be written.
func TestComposeMountsWhatThereIs(t *testing.T) {
	t.Parallel()
	project := composeProject(t)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	require.Len(t, project.Services, 3)
	for name, s := range project.Services {
		require.Regexp(t, exactImage, s.Image)
		require.Equal(t, "host", s.NetworkMode, "%s: only there it reaches what listens on 127.0.0.1", name)
		require.Empty(t, s.Ports, "%s: they mean nothing in the host's network", name)
		require.False(t, s.Privileged, name)
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume {
				require.Contains(t, project.Volumes, v.Source, name)
				continue
			}
			require.Equal(t, types.VolumeTypeBind, v.Type, name)
			require.True(t, v.ReadOnly, "%s: %s", name, v.Source)
			require.False(t, bool(v.Bind.CreateHostPath), "%s: %s would be made if it were missing", name, v.Source)
			require.True(t, strings.HasPrefix(v.Source, root+"/deploy/"), v.Source)
			_, err := os.Stat(v.Source)
			require.NoError(t, err, name)
		}
	}
}

// Everything listens on 127.0.0.1, and on no port that Beaconpost or another has.
func TestComposeListensOnLoopback(t *testing.T) {
	t.Parallel()
	services := composeProject(t).Services
	prometheus, grafana, jaeger := services["prometheus"], services["grafana"], services["jaeger"]
	addr, port := grafana.Environment["GF_SERVER_HTTP_ADDR"], grafana.Environment["GF_SERVER_HTTP_PORT"]
	ports := []string{requireLoopback(t, flagOf(t, prometheus, "web.listen-address")), requireLoopback(t, net.JoinHostPort(*addr, *port))}
	text, err := os.ReadFile(mounted(jaeger, flagOf(t, jaeger, "config")))
	require.NoError(t, err)
	endpoints := regexp.MustCompile(`endpoint: "([^"]*)"`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, endpoints, strings.Count(string(text), "endpoint"))
	for _, endpoint := range endpoints {
		ports = append(ports, requireLoopback(t, endpoint[1]))
	}
	ports = append(ports, "8080", "9090", "9091", "9092")
	slices.Sort(ports)
	require.Len(t, slices.Compact(slices.Clone(ports)), len(ports), "twice: %v", ports)
}

// prometheusFile is deploy/compose/prometheus.yml.
type prometheusFile struct {
	Global struct {
		ScrapeInterval     string `yaml:"scrape_interval"`
		EvaluationInterval string `yaml:"evaluation_interval"`
		Native             bool   `yaml:"scrape_native_histograms,omitempty"`
		Classic            bool   `yaml:"always_scrape_classic_histograms,omitempty"`
	} `yaml:"global"`
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName string `yaml:"job_name"`
		Static  []struct {
			Targets []string `yaml:"targets"`
		} `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

// Prometheus finds its rules where they are mounted, and scrapes what `beaconpost up` exports. The promtool of the tests is older than the settings of
// native histograms, so these are looked at here and it gets the rest.
func TestComposePrometheus(t *testing.T) {
	t.Parallel()
	prometheus := composeProject(t).Services["prometheus"]
	require.Equal(t, "exemplar-storage", flagOf(t, prometheus, "enable-feature"))
	var file prometheusFile
	decodeStrictly(t, mounted(prometheus, flagOf(t, prometheus, "config.file")), &file)
	require.True(t, file.Global.Native)
	require.True(t, file.Global.Classic, "alerts and dashboards ask for classic ones")
	file.Global.Native, file.Global.Classic = false, false
	rules, err := filepath.Abs(observability + "/alerts.yaml")
	require.NoError(t, err)
	require.Len(t, file.RuleFiles, 1)
	file.RuleFiles[0] = mounted(prometheus, file.RuleFiles[0])
	require.Equal(t, rules, file.RuleFiles[0], "the alerts, and no copy of them")
	text, err := yaml.Marshal(file)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/prometheus.yml", text, 0o600))
	require.NoError(t, stack.Command(t.Context(), dir, program(t, "promtool"), "check", "config", "prometheus.yml"))

	up, err := os.ReadFile("../services/beaconpost/internal/up/command.go")
	require.NoError(t, err)
	var ports []string
	for _, target := range file.ScrapeConfigs[0].Static[0].Targets {
		ports = append(ports, requireLoopback(t, target))
	}
	require.Contains(t, string(up), `Value: "`+strings.Join(ports, ",")+`"`)
}

// datasourcesFile and providersFile have the fields of Grafana's documentation that are used here.
type datasourcesFile struct {
	APIVersion  int `yaml:"apiVersion"`
	Datasources []struct {
		Name      string `yaml:"name"`
		UID       string `yaml:"uid"`
		Type      string `yaml:"type"`
		Access    string `yaml:"access"`
		URL       string `yaml:"url"`
		IsDefault bool   `yaml:"isDefault"`
		JSONData  struct {
			HTTPMethod   string `yaml:"httpMethod"`
			TimeInterval string `yaml:"timeInterval"`
			Exemplars    []struct {
				Name          string `yaml:"name"`
				DatasourceUID string `yaml:"datasourceUid"`
			} `yaml:"exemplarTraceIdDestinations"`
			NodeGraph struct {
				Enabled bool `yaml:"enabled"`
			} `yaml:"nodeGraph"`
		} `yaml:"jsonData"`
	} `yaml:"datasources"`
}

type providersFile struct {
	APIVersion int `yaml:"apiVersion"`
	Providers  []struct {
		Name            string `yaml:"name"`
		Type            string `yaml:"type"`
		Folder          string `yaml:"folder"`
		DisableDeletion bool   `yaml:"disableDeletion"`
		AllowUIUpdates  bool   `yaml:"allowUiUpdates"`
		Options         struct {
			Path string `yaml:"path"`
		} `yaml:"options"`
	} `yaml:"providers"`
}

// provisioned is the one file in a directory of Grafana's provisioning.
func provisioned(t *testing.T, grafana types.ServiceConfig, kind string) string {
	t.Helper()
	files, err := filepath.Glob(mounted(grafana, "/etc/grafana/provisioning/"+kind) + "/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// Grafana has the dashboards themselves and data sources for their variables, where the others listen; an exemplar's trace is looked for in the traces.
func TestComposeGrafana(t *testing.T) {
	t.Parallel()
	services := composeProject(t).Services
	grafana, prometheus := services["grafana"], services["prometheus"]
	var sources datasourcesFile
	decodeStrictly(t, provisioned(t, grafana, "datasources"), &sources)
	require.Equal(t, 1, sources.APIVersion)
	urls, uids := map[string]string{}, map[string]string{}
	for _, d := range sources.Datasources {
		require.Equal(t, "proxy", d.Access)
		require.Equal(t, d.Type == "prometheus", d.IsDefault)
		urls[d.Type], uids[d.Type] = d.URL, d.UID
	}
	require.Equal(t, "http://"+flagOf(t, prometheus, "web.listen-address"), urls["prometheus"])
	require.Equal(t, "http://"+jaegerFile(t, services["jaeger"]).Extensions.Query.HTTP.Endpoint, urls["jaeger"])
	require.Len(t, uids, 2)
	destinations := sources.Datasources[0].JSONData.Exemplars
	require.Len(t, destinations, 1)
	require.Equal(t, "trace_id", destinations[0].Name, "the label of our exemplars")
	require.Equal(t, uids["jaeger"], destinations[0].DatasourceUID)
	for _, d := range dashboards(t) {
		for kind := range uids {
			require.True(t, slices.ContainsFunc(d.Templating.List, func(v variable) bool { return v.Type == "datasource" && v.Query == kind }), "%s: %s", d.Title, kind)
		}
		for _, p := range d.Panels {
			require.True(t, p.Type == "row" || p.Datasource.UID == "${datasource}", "%s: %s", d.Title, p.Title)
		}
	}

	var providers providersFile
	decodeStrictly(t, provisioned(t, grafana, "dashboards"), &providers)
	require.Equal(t, 1, providers.APIVersion)
	require.Len(t, providers.Providers, 1)
	at := providers.Providers[0].Options.Path
	same, err := filepath.Abs(observability + "/dashboards")
	require.NoError(t, err)
	require.Equal(t, same, mounted(grafana, at), "the dashboards, and no copies of them")
	home := *grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	require.Equal(t, at, path.Dir(home))
	require.FileExists(t, mounted(grafana, home))
}

// jaegerConfig is deploy/compose/jaeger.yaml: what Jaeger has and is used here.
type jaegerConfig struct {
	Service struct {
		Extensions []string
		Pipelines  map[string]struct{ Receivers, Processors, Exporters []string }
		Telemetry  struct {
			Resource map[string]string
			Metrics  struct{ Level string }
		}
	}
	Receivers struct {
		OTLP struct {
			Protocols struct{ HTTP listening }
		}
	}
	Processors struct{ Batch struct{} }
	Exporters  struct {
		Storage struct {
			To string `yaml:"trace_storage"`
		} `yaml:"jaeger_storage_exporter"`
	}
	Extensions struct {
		Storage struct {
			Backends map[string]struct {
				Memory struct {
					MaxTraces int `yaml:"max_traces"`
				}
			}
		} `yaml:"jaeger_storage"`
		Query struct {
			Storage    struct{ Traces string }
			Tracing    bool `yaml:"enable_tracing"`
			HTTP, GRPC listening
		} `yaml:"jaeger_query"`
	}
}

type listening struct{ Endpoint string }

func jaegerFile(t *testing.T, jaeger types.ServiceConfig) (file jaegerConfig) {
	t.Helper()
	decodeStrictly(t, mounted(jaeger, flagOf(t, jaeger, "config")), &file)
	return file
}

// Jaeger takes traces where docs/observability.md has them sent, keeps them where its pages look, and starts all that it configures.
func TestComposeJaeger(t *testing.T) {
	t.Parallel()
	file := jaegerFile(t, composeProject(t).Services["jaeger"])
	require.ElementsMatch(t, []string{"jaeger_storage", "jaeger_query"}, file.Service.Extensions)
	require.Len(t, file.Service.Pipelines, 1)
	pipeline := file.Service.Pipelines["traces"]
	require.Equal(t, []string{"otlp"}, pipeline.Receivers)
	require.Equal(t, []string{"batch"}, pipeline.Processors)
	require.Equal(t, []string{"jaeger_storage_exporter"}, pipeline.Exporters)
	require.Contains(t, file.Extensions.Storage.Backends, file.Exporters.Storage.To)
	require.Equal(t, file.Exporters.Storage.To, file.Extensions.Query.Storage.Traces)
	docs, err := os.ReadFile("../docs/observability.md")
	require.NoError(t, err)
	require.Contains(t, string(docs), "BEACONPOST_OTLP_ENDPOINT=http://"+file.Receivers.OTLP.Protocols.HTTP.Endpoint+" make run", "the services add the path")
	require.Contains(t, string(docs), "http://"+file.Extensions.Query.HTTP.Endpoint)
}
