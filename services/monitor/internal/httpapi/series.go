package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// series describes what a scrape shows. Those of blackbox_exporter have its names, so that dashboards and rules for it work.
type series struct {
	success, duration, phase, statusCode, certEnds, checkedAt *prometheus.Desc
	state, checks, failures, info, uptime                     *prometheus.Desc
}

func newSeries() *series {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"monitor"}, labels...), nil)
	}
	const region = "region"
	return &series{
		success:    desc("probe_success", "1 if the last check that says something of the target was up or degraded, 0 if it was down. Absent while a region is silent.", region),
		duration:   desc("probe_duration_seconds", "Time of that check.", region),
		phase:      desc("probe_http_duration_seconds", "Time of that check by phase, over all redirects. Phases that were not reached are absent.", region, "phase"),
		statusCode: desc("probe_http_status_code", "Status of the answer. Absent if there was none.", region),
		certEnds:   desc("probe_ssl_earliest_cert_expiry", "When the certificate ends that ends first of those that the target showed, in Unix seconds. Absent if it showed none.", region),
		checkedAt:  desc("probe_last_check_timestamp_seconds", "When that check began.", region),
		state:      desc("beaconpost_monitor_state", "1 for the state that the monitor is in, 0 for the others.", "state"),
		checks:     desc("beaconpost_monitor_checks_total", "Checks that were made as scheduled, by what they showed. Of a heartbeat: calls that said how a job ended.", region, "result"),
		failures:   desc("beaconpost_monitor_failures_total", "Incidents that the monitor's checks opened, by cause.", "cause"),
		info:       desc("beaconpost_monitor_info", "What the monitor is; always 1.", "name", "kind", "project"),
		uptime:     desc("beaconpost_monitor_uptime_ratio", "Share of the time that counts in a window up to now that the monitor was not down. Absent if no time counts.", "window"),
	}
}

// collection shows samples. It is for one scrape.
type collection struct {
	*series
	samples []ledger.Sample
}

var _ prometheus.Collector = (*collection)(nil)

// Describe implements prometheus.Collector.
func (c *collection) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.success, c.duration, c.phase, c.statusCode, c.certEnds, c.checkedAt, c.state, c.checks, c.failures, c.info, c.uptime} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collection) Collect(metrics chan<- prometheus.Metric) {
	for i := range c.samples {
		s := &c.samples[i]
		out := output{metrics, s.Monitor.String()}
		c.collectMonitor(out, s)
		for region, r := range s.Regions {
			if r.Last != nil {
				c.collectCheck(out, s.Kind, region, r.Last)
			}
			out.counter(c.checks, r.Up, region, string(check.Up))
			out.counter(c.checks, r.Degraded, region, string(check.Degraded))
			out.counter(c.checks, r.Down, region, string(check.Down))
			out.counter(c.checks, r.NotChecked, region, string(check.NotChecked))
		}
	}
}

func (c *collection) collectMonitor(out output, s *ledger.Sample) {
	project := ""
	if s.Project != nil {
		project = s.Project.String()
	}
	out.gauge(c.info, 1, s.Name, string(s.Kind), project)
	for _, state := range []verdict.Status{verdict.Up, verdict.Degraded, verdict.Down, verdict.Maintenance, verdict.Paused, verdict.Unknown} {
		value := 0.0
		if s.Status == string(state) {
			value = 1
		}
		out.gauge(c.state, value, string(state))
	}
	for cause, n := range s.Failures {
		out.counter(c.failures, n, string(cause))
	}
	for i, window := range ledger.SampleWindows() {
		if i >= len(s.Windows) {
			break
		}
		if ratio, ok := s.Windows[i].Ratio(); ok {
			out.gauge(c.uptime, ratio, window.Name)
		}
	}
}

func (c *collection) collectCheck(out output, kind check.Kind, region string, last *ledger.Last) {
	success := 1.0
	if last.Outcome == check.Down {
		success = 0
	}
	out.gauge(c.success, success, region)
	out.gauge(c.checkedAt, float64(last.StartedAt.UnixMicro())/1e6, region)
	out.seconds(c.duration, last.Duration, region)
	if !last.CertEnds.IsZero() {
		out.gauge(c.certEnds, float64(last.CertEnds.Unix()), region)
	}
	if kind != check.HTTP {
		return
	}
	out.seconds(c.phase, last.Phases.Resolve, region, "resolve")
	out.seconds(c.phase, last.Phases.Connect, region, "connect")
	out.seconds(c.phase, last.Phases.TLS, region, "tls")
	out.seconds(c.phase, last.Phases.Processing, region, "processing")
	out.seconds(c.phase, last.Phases.Transfer, region, "transfer")
	if last.Status != 0 {
		out.gauge(c.statusCode, float64(last.Status), region)
	}
}

// output takes the metrics of one monitor.
type output struct {
	metrics chan<- prometheus.Metric
	monitor string
}

func (o output) gauge(d *prometheus.Desc, value float64, labels ...string) {
	o.metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{o.monitor}, labels...)...)
}

// seconds leaves out what took no time: it did not happen.
func (o output) seconds(d *prometheus.Desc, took time.Duration, labels ...string) {
	if took > 0 {
		o.gauge(d, took.Seconds(), labels...)
	}
}

func (o output) counter(d *prometheus.Desc, n int64, labels ...string) {
	o.metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{o.monitor}, labels...)...)
}
