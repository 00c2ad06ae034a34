package main

import (
	"fmt"
	"strings"
)

// dashboard is one, whose uid stays what it is: links and bookmarks lead to it.
type dashboard struct {
	name  string // of its file, and behind beaconpost- its uid
	title string
	what  string
	rows  []row
}

type row struct {
	title  string
	panels []panel
	folded bool // until somebody opens it: not everybody has what it shows
}

// panel shows queries. good says what it looks like while all is well, for whoever sees it for the first time, at night.
type panel struct {
	title   string
	good    string
	unit    string // of Grafana: s, ops, short, percentunit, bytes
	stat    bool   // one number, not a graph
	queries []query

	exemplars bool    // it shows times of a histogram: points lead to traces
	explained []place // where to look next
	behind    lead    // what a click on a series looks for
}

func (p panel) explainedBy(board string, titles ...string) panel {
	for _, title := range titles {
		p.explained = append(p.explained, place{board, title})
	}
	return p
}

func (p panel) leadingTo(behind lead) panel {
	p.behind = behind
	return p
}

type query struct{ expr, legend string }

// of narrows a metric to what the variables say. matchers are further ones, such as `outcome="missed"`.
func of(metric string, matchers ...string) string {
	return metric + "{" + strings.Join(append(matchers, `namespace=~"$namespace"`, `instance=~"$instance"`), ", ") + "}"
}

func rate(metric string, matchers ...string) string {
	return "rate(" + of(metric, matchers...) + "[$__rate_interval])"
}

// in narrows an expression to one service: instances say themselves which they are.
func in(service, expr string) string {
	return expr + " and on (instance) beaconpost_build_info{service=" + fmt.Sprintf("%q", service) + "}"
}

func quantile(q float64, metric string, matchers ...string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (le) (%s))", q, rate(metric+"_bucket", matchers...))
}

// quantiles shows the median and the tail of a histogram.
func quantiles(title, good, metric string, matchers ...string) panel {
	return panel{title: title, good: good, unit: "s", exemplars: true, queries: []query{
		{quantile(.5, metric, matchers...), "p50"}, {quantile(.95, metric, matchers...), "p95"}, {quantile(.99, metric, matchers...), "p99"},
	}}
}

func graph(title, good, unit, expr, legend string) panel {
	return panel{title: title, good: good, unit: unit, queries: []query{{expr, legend}}}
}

func number(title, good, unit, expr string) panel {
	return panel{title: title, good: good, unit: unit, stat: true, queries: []query{{expr, ""}}}
}

// red is rate, errors and duration of a service's API.
func red(service string) row {
	const route = "${__field.labels.route}"
	routed := lead{service: service, logs: `message="request" | route="` + route + `"`, tags: "http.route=" + route, traceql: `span.http.route="` + route + `"`}
	slow := routed
	slow.longer = true
	return row{title: "API", panels: []panel{
		graph("Requests", "Follows what clients send.", "reqps", "sum by (route) ("+in(service, rate("beaconpost_http_requests_total"))+")", "{{route}}").leadingTo(routed),
		graph("Server errors", "0. A 503 is Postgres away or too much at once, a 500 a bug.", "percentunit",
			`sum by (status) (`+in(service, rate("beaconpost_http_requests_total", `status=~"5.."`))+`) / scalar(sum(`+in(service, rate("beaconpost_http_requests_total"))+`)) or vector(0)`, "{{status}}").
			leadingTo(lead{service: service, logs: `message="request" | status>=500`, tags: "error=true", traceql: "status=error"}),
		{title: "Duration", good: "Flat. The p99 of a route that grows alone has a statement that became slow.", unit: "s", exemplars: true, behind: slow, queries: []query{
			{"histogram_quantile(0.99, sum by (le, route) (" + in(service, rate("beaconpost_http_request_duration_seconds_bucket")) + "))", "p99 {{route}}"},
		}},
	}}
}

// queues shows what waits inside of a service, and background what it does without being asked.
func queues(service string) panel {
	full := in(service, of("beaconpost_queue_length")) + ") / max by (queue) (" + in(service, of("beaconpost_queue_length_max"))
	return graph("Queues", "Near 0 of what they take. Full: what comes is refused, or left to the reconciler.", "percentunit", "max by (queue) ("+full+")", "{{queue}}")
}

func background(service string) row {
	doing := func(metric string) string { return "sum by (doing) (" + in(service, rate(metric)) + ")" }
	failed := lead{service: service, logs: `doing="${__field.labels.doing}"`, untraced: true}
	return row{title: "Batches and background work", panels: []panel{
		queues(service),
		slowest("Time of a batch (p99)", "Milliseconds. Seconds: Postgres is slow.", service, "beaconpost_batch_duration_seconds"),
		{title: "Rounds", good: "Each job has its rate; failed is 0.", unit: "ops", behind: failed, queries: []query{{doing("beaconpost_job_duration_seconds_count"), "{{doing}}"}, {doing("beaconpost_job_failures_total"), "failed: {{doing}}"}}},
		slowest("Time of a round (p99)", "Below the time between two rounds.", service, "beaconpost_job_duration_seconds"),
	}}
}

// slowest is the tail of a histogram by what was done.
func slowest(title, good, service, metric string) panel {
	return panel{title: title, good: good, unit: "s", exemplars: true, queries: []query{
		{"histogram_quantile(0.99, sum by (le, doing) (" + in(service, rate(metric+"_bucket")) + "))", "{{doing}}"},
	}}
}

// use is what a service needs of the machine and of Postgres.
func use(service string) row {
	return row{title: "Resources", panels: []panel{
		graph("CPU", "Below what the container may use.", "short", "sum by (instance) ("+in(service, rate("process_cpu_seconds_total"))+")", "{{instance}}"),
		graph("Resident memory", "Flat.", "bytes", in(service, of("process_resident_memory_bytes")), "{{instance}}"),
		graph("Goroutines", "Follows the load, and comes back.", "short", in(service, of("go_goroutines")), "{{instance}}"),
		{title: "Traces and metrics that the collector did not get", good: "0.", unit: "ops", queries: []query{
			{"sum by (signal) (" + in(service, rate("beaconpost_telemetry_exports_failed_total")) + ")", "batches of {{signal}}"},
			{"sum(" + in(service, rate("beaconpost_telemetry_spans_dropped_total")) + ")", "spans that found no room"},
		}},
		graph("Connections to Postgres", "Used below max.", "short", "sum by (state) ("+in(service, of("beaconpost_postgres_connections"))+")", "{{state}}"),
	}}
}

const (
	columns = 24
	height  = 8
)

// model gives Grafana's JSON model (schema 39).
func (d dashboard) model(known places) map[string]any {
	var panels []any
	y, id := 0, 0
	next := func() int { id++; return id }
	for _, r := range d.rows {
		head := map[string]any{"id": next(), "type": "row", "title": r.title, "collapsed": r.folded, "gridPos": map[string]int{"x": 0, "y": y, "w": columns, "h": 1}}
		y++
		width := columns / min(len(r.panels), 4)
		shown := []any{}
		for i, p := range r.panels {
			shown = append(shown, p.model(known, next(), i%4*width, y+i/4*height, width))
		}
		y += (len(r.panels) + 3) / 4 * height
		if r.folded { // Grafana keeps the panels of such a row in it
			head["panels"] = shown
			panels = append(panels, head)
			continue
		}
		head["panels"] = []any{}
		panels = append(append(panels, head), shown...)
	}
	return map[string]any{
		"uid": "beaconpost-" + d.name, "title": d.title, "description": d.what, "tags": []string{"beaconpost"}, "schemaVersion": 39, "version": 1, "editable": true,
		"time": map[string]string{"from": "now-3h", "to": "now"}, "refresh": "30s", "timezone": "browser", "graphTooltip": 1,
		"templating": map[string]any{"list": variables()}, "annotations": map[string]any{"list": []any{}},
		"links":  []any{map[string]any{"type": "dashboards", "title": "Beaconpost", "tags": []string{"beaconpost"}, "asDropdown": false, "includeVars": true, "keepTime": true}},
		"panels": panels,
	}
}

func variables() []any {
	label := func(name, from string) map[string]any {
		return map[string]any{
			"name": name, "label": name, "type": "query", "datasource": source(), "query": map[string]string{"query": "label_values(" + from + ", " + name + ")", "refId": name},
			"refresh": 2, "includeAll": true, "allValue": ".*", "multi": true, "current": map[string]any{"text": "All", "value": "$__all"}, "sort": 1,
		}
	}
	from := func(name, label, kind string) map[string]any {
		return map[string]any{"name": name, "label": label, "type": "datasource", "query": kind, "current": map[string]any{}}
	}
	return []any{
		from("datasource", "Prometheus", "prometheus"), from("jaeger", "Traces (Jaeger)", "jaeger"), from("tempo", "Traces (Tempo)", "tempo"), from("loki", "Logs", "loki"),
		label("namespace", "beaconpost_build_info"), label("instance", `beaconpost_build_info{namespace=~"$namespace"}`),
	}
}

func source() map[string]string {
	return map[string]string{"type": "prometheus", "uid": "${datasource}"}
}

func (p panel) model(known places, id, x, y, width int) map[string]any {
	kind := "timeseries"
	options := map[string]any{"legend": map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": map[string]any{"mode": "multi", "sort": "desc"}}
	if p.stat {
		kind, options = "stat", map[string]any{"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}}, "colorMode": "none", "graphMode": "area"}
	}
	var targets []any
	for i, q := range p.queries {
		targets = append(targets, map[string]any{"refId": string(rune('A' + i)), "datasource": source(), "expr": q.expr, "legendFormat": q.legend, "exemplar": p.exemplars})
	}
	nextTo := known.links(p.explained)
	return map[string]any{
		"links": nextTo,
		"id":    id, "type": kind, "title": p.title, "description": p.good, "datasource": source(), "gridPos": map[string]int{"x": x, "y": y, "w": width, "h": height}, "targets": targets, "options": options,
		"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit, "min": 0, "links": append(nextTo, p.behind.links()...), "custom": map[string]any{"fillOpacity": 5, "showPoints": "never", "spanNulls": 120000}}, "overrides": []any{}},
	}
}
