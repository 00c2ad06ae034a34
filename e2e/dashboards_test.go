package e2e

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
)

type (
	dashboard = observe.Dashboard
	panel     = observe.Panel
	variable  = observe.Variable
)

// exploring is what Explore is asked for in a URL, of all kinds of data source that links lead to.
type exploring struct {
	Datasource string `json:"datasource"`
	Queries    []struct {
		RefID       string `json:"refId"`
		QueryType   string `json:"queryType"`
		Service     string `json:"service"`
		Tags        string `json:"tags"`
		MinDuration string `json:"minDuration"`
		Limit       int    `json:"limit"`
		Query       string `json:"query"`
		Expr        string `json:"expr"`
		Datasource  struct {
			Type string `json:"type"`
			UID  string `json:"uid"`
		} `json:"datasource"`
	} `json:"queries"`
	Range struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"range"`
}

var (
	variableName = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z_.0-9]*)`)
	keptBy       = regexp.MustCompile(`\bby \(([^)]*)\)`)
	streamName   = regexp.MustCompile(`^\{service_name="(beaconpost-[a-z]+)"\} \| json( \| .+)?$`)
	traceName    = regexp.MustCompile(`^\{resource\.service\.name="(beaconpost-[a-z]+)"( && .+)?\}$`)
)

// requireVariables holds that text uses variables that the dashboard has, or Grafana itself; and of the clicked series' labels those that its query keeps.
func requireVariables(t *testing.T, d dashboard, p *panel, text string) {
	t.Helper()
	var kept []string
	for _, q := range p.Targets {
		for _, by := range keptBy.FindAllStringSubmatch(q.Expr, -1) {
			kept = append(kept, strings.Split(by[1], ", ")...)
		}
	}
	for _, found := range variableName.FindAllStringSubmatch(text, -1) {
		name := found[1]
		if label, ok := strings.CutPrefix(name, "__field.labels."); ok {
			require.Contains(t, kept, label, "%s: %s", d.Title, p.Title)
			continue
		}
		known := slices.Contains([]string{"__from", "__to", "__range", "__rate_interval", "__url_time_range", "__all_variables", "__value.raw"}, name) ||
			slices.ContainsFunc(d.Templating.List, func(v variable) bool { return v.Name == name })
		require.True(t, known, "%s: %s: there is no variable %s", d.Title, p.Title, name)
	}
}

// requirePanel holds that a link leads to a panel of ours, and takes time and variables with it.
func requirePanel(t *testing.T, boards []dashboard, at *url.URL, where string) {
	t.Helper()
	i := slices.IndexFunc(boards, func(d dashboard) bool { return "/d/"+d.UID == at.Path })
	require.GreaterOrEqual(t, i, 0, "%s leads to %s", where, at)
	require.Contains(t, at.RawQuery, "${__url_time_range}&${__all_variables}", where)
	require.True(t, slices.ContainsFunc(boards[i].Panels, func(p panel) bool {
		return p.Type != "row" && at.Query().Get("viewPanel") == "panel-"+strconv.Itoa(p.ID)
	}), "%s leads to %s", where, at)
}

// requireQuery holds that Explore understands a link, and that it asks for one of our services in a data source of the variable's kind.
func requireQuery(t *testing.T, d dashboard, at *url.URL, where string) (kind string) {
	t.Helper()
	require.Equal(t, "1", at.Query().Get("schemaVersion"), where)
	var panes map[string]exploring
	decoder := json.NewDecoder(strings.NewReader(at.Query().Get("panes")))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&panes), where)
	require.Len(t, panes, 1, where)
	for _, pane := range panes {
		require.Equal(t, "${__from} ${__to}", pane.Range.From+" "+pane.Range.To, where)
		require.Len(t, pane.Queries, 1, where)
		q := pane.Queries[0]
		require.NotEmpty(t, q.RefID, where)
		require.Equal(t, pane.Datasource, q.Datasource.UID, where)
		require.True(t, slices.ContainsFunc(d.Templating.List, func(v variable) bool {
			return v.Type == "datasource" && v.Query == q.Datasource.Type && "${"+v.Name+"}" == pane.Datasource
		}), "%s asks %+v", where, q.Datasource)
		kind = q.Datasource.Type
		service := q.Service
		switch kind {
		case "jaeger":
			require.Equal(t, "search", q.QueryType, where)
		case "tempo":
			require.Equal(t, "traceql", q.QueryType, where)
			require.Regexp(t, traceName, q.Query, where)
			service = traceName.FindStringSubmatch(q.Query)[1]
		case "loki":
			require.Equal(t, "range", q.QueryType, where)
			require.Regexp(t, streamName, q.Expr, where)
			service = streamName.FindStringSubmatch(q.Expr)[1]
		}
		require.Contains(t, []string{"beaconpost-ingest", "beaconpost-delivery", "beaconpost-monitor"}, service, where)
	}
	return kind
}

// From the overview one gets to what explains it, and from there to traces and logs: every link leads to something that there is.
func TestDashboardLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	boards := dashboards(t)
	explored := map[string]int{}
	for _, d := range boards {
		for _, p := range d.Panels {
			where := d.Title + ": " + p.Title
			if d.UID == "beaconpost-overview" && p.Type != "row" {
				require.NotEmpty(t, p.Links, "%s: what explains it?", where)
			}
			for _, q := range p.Targets {
				requireVariables(t, d, &p, q.Expr)
				times := p.FieldConfig.Defaults.Unit == "s" && strings.Contains(q.Expr, "histogram_quantile(")
				require.Equal(t, times, q.Exemplar, "%s: exemplars are times", where)
			}
			for _, l := range slices.Concat(p.Links, p.FieldConfig.Defaults.Links) {
				require.NotEmpty(t, l.Title, where)
				at, err := url.Parse(l.URL)
				require.NoError(t, err, where)
				requireVariables(t, d, &p, l.URL)
				if at.Path == "/explore" {
					explored[requireQuery(t, d, at, where)]++
				} else {
					requirePanel(t, boards, at, where)
				}
			}
		}
	}
	require.Equal(t, explored["jaeger"], explored["tempo"], "with either there are the same links")
	require.Positive(t, explored["tempo"])
	require.Positive(t, explored["loki"])
}
