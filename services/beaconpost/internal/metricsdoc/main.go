// Command metricsdoc writes docs/metrics.md from the services' metrics. It is run by `make generate`, in the directory of services/beaconpost.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

const head = `# Metrics

<!-- Written by make generate from the code: change it there. -->

Each service has its own, at ` + "`/metrics`" + ` of its admin port, beside those of the Go runtime (` + "`go_*`" + `) and the process (` + "`process_*`" + `). Histograms have classic buckets, and native ones for a Prometheus that scrapes these (which then needs ` + "`always_scrape_classic_histograms`, before 3.0 `scrape_classic_histograms`" + `, for alerts and dashboards to have theirs); with traces exported, some have exemplars. No label names a tenant, an endpoint or a monitor: how many series there are depends on the version, not on who uses it. What a tenant can scrape of its own monitors is in [monitors.md](monitors.md#prometheus).
`

func main() {
	if err := os.WriteFile("../../docs/metrics.md", []byte(document()), 0o644); err != nil { //nolint:gosec // documentation is for everybody
		_, _ = fmt.Fprintln(os.Stderr, "metricsdoc:", err)
		os.Exit(1)
	}
}

// section is what one service has beside what all have.
type section struct {
	title    string
	describe func(*telemetry.Metrics)
}

func document() string {
	sections := []section{{"ingest", ingest.DescribeMetrics}, {"delivery", delivery.DescribeMetrics}, {"monitor", monitor.DescribeMetrics}}
	families := make([][]telemetry.Family, len(sections))
	in := map[string]int{}
	for i, s := range sections {
		m := telemetry.NewMetrics(prometheus.NewRegistry())
		telemetry.DescribeMetrics(m)
		s.describe(m)
		families[i] = m.Families()
		for _, f := range families[i] {
			in[f.Name]++
		}
	}
	common := func(f telemetry.Family) bool { return in[f.Name] == len(sections) }
	var b strings.Builder
	b.WriteString(head)
	table(&b, "All services", slices.DeleteFunc(slices.Clone(families[0]), func(f telemetry.Family) bool { return !common(f) }))
	for i, s := range sections {
		table(&b, s.title, slices.DeleteFunc(families[i], common))
	}
	return b.String()
}

func table(b *strings.Builder, title string, families []telemetry.Family) {
	fmt.Fprintf(b, "\n## %s\n\n| name | type | labels | what | worry when |\n| --- | --- | --- | --- | --- |\n", title)
	for _, f := range families {
		labels := ""
		if len(f.Labels) > 0 {
			labels = "`" + strings.Join(f.Labels, "`, `") + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", f.Name, f.Type, labels, cell(f.Help), cell(f.Worry))
	}
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
