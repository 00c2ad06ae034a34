package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// place is a panel, by the name of its dashboard and its title.
type place struct{ board, panel string }

// places knows where panels are: links lead to their ids.
type places map[place]int

func locate(boards []dashboard) (places, error) {
	found := places{}
	for _, d := range boards {
		id := 0
		for _, r := range d.rows {
			id++ // the row's own
			for _, p := range r.panels {
				id++
				at := place{d.name, p.title}
				if found[at] != 0 {
					return nil, fmt.Errorf("two panels are %v", at)
				}
				found[at] = id
			}
		}
	}
	for _, d := range boards {
		for _, r := range d.rows {
			for _, p := range r.panels {
				for _, to := range p.explained {
					if found[to] == 0 {
						return nil, fmt.Errorf("%s links to %v, which is not there", p.title, to)
					}
				}
			}
		}
	}
	return found, nil
}

// links lead to panels and keep the time and the variables.
func (known places) links(to []place) []any {
	links := make([]any, 0, len(to))
	for _, p := range to {
		links = append(links, map[string]any{
			"title": p.board + ": " + p.panel, "targetBlank": false,
			"url": fmt.Sprintf("/d/beaconpost-%s?${__url_time_range}&${__all_variables}&viewPanel=panel-%d", p.board, known[p]),
		})
	}
	return links
}

// lead says what to look for behind a panel: in the logs of a service, and in its traces. Values such as ${__field.labels.route} are the clicked series'.
type lead struct {
	service  string // such as delivery
	logs     string // stages of LogQL behind the service's stream; "": its logs say nothing of it
	tags     string // of spans, as Jaeger wants them: key=value key=value
	traceql  string // the same for Tempo, behind the service
	longer   bool   // the clicked value is a time: only what took longer
	untraced bool   // no span says it
}

const clicked = "${__value.raw}s"

// links open Explore at the time that the dashboard shows. Jaeger's and Tempo's have variables of their own: a variable lists one kind of data source.
func (l lead) links() []any {
	if l.service == "" {
		return nil
	}
	name := "beaconpost-" + l.service
	var links []any
	if !l.untraced {
		jaeger := map[string]any{"queryType": "search", "service": name, "limit": 20}
		tempo := `resource.service.name="` + name + `"`
		if l.tags != "" {
			jaeger["tags"], tempo = l.tags, tempo+" && "+l.traceql
		}
		if l.longer {
			jaeger["minDuration"], tempo = clicked, tempo+" && duration>"+clicked
		}
		links = append(links, explore("Traces (Jaeger)", "jaeger", jaeger), explore("Traces (Tempo)", "tempo", map[string]any{"queryType": "traceql", "query": "{" + tempo + "}", "limit": 20}))
	}
	if l.logs != "" {
		links = append(links, explore("Logs", "loki", map[string]any{"queryType": "range", "expr": `{service_name="` + name + `"} | json | ` + l.logs}))
	}
	return links
}

// explore makes a link with a query for the data source that the variable of the kind's name says.
func explore(title, kind string, query map[string]any) map[string]any {
	uid := "${" + kind + "}"
	query["refId"], query["datasource"] = "A", map[string]string{"type": kind, "uid": uid}
	var panes strings.Builder
	encoder := json.NewEncoder(&panes)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(map[string]any{"beaconpost": map[string]any{
		"datasource": uid, "queries": []any{query}, "range": map[string]string{"from": "${__from}", "to": "${__to}"},
	}})
	if err != nil {
		panic(err) // of strings and numbers
	}
	return map[string]any{"title": title, "targetBlank": false, "url": "/explore?schemaVersion=1&panes=" + escape(strings.TrimSpace(panes.String()))}
}

// escape escapes text for a URL's query and leaves Grafana's variables as they are, which it fills in before anything is decoded.
func escape(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.WriteString(strings.ReplaceAll(url.QueryEscape(before), "+", "%20"))
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		b.WriteString("${" + name + "}")
		text = after
	}
}
