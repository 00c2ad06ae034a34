package monitor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	monitorstream "github.com/beaconpost/beaconpost/services/monitor/internal/stream"
)

// observer counts and logs what the service does. No label names a tenant or a monitor.
type observer struct {
	log    zerolog.Logger
	tracer *telemetry.Tracer
	jobs   *telemetry.Jobs

	batches *telemetry.Batches

	region string

	slots     *prometheus.CounterVec
	lag       prometheus.Histogram
	duration  *prometheus.HistogramVec
	causes    *prometheus.CounterVec
	moved     *prometheus.CounterVec
	recorded  prometheus.Counter
	trouble   *prometheus.CounterVec
	wanted    prometheus.Gauge
	published *prometheus.CounterVec
	ahead     prometheus.Gauge

	usageBehind prometheus.Gauge
}

var _ monitor.Observer = (*observer)(nil)

// The outcomes of slots, as far as the process that got them knows: what nobody got is counted in the monitors' schedules.
const (
	slotChecked = "checked"
	slotLate    = "late" // checked, a second or more after its moment
	slotMissed  = "missed"
	lateFrom    = time.Second
)

func newObserver(m *telemetry.Metrics, region string, tracer *telemetry.Tracer, log zerolog.Logger) *observer {
	o := &observer{
		log: log, tracer: tracer, jobs: telemetry.NewJobs(m), batches: telemetry.NewBatches(m), region: region,
		slots: m.Counters(telemetry.Metric{
			Name: "beaconpost_scheduler_slots_total", Labels: []string{"outcome"},
			Help:  "Slots of monitors that came to this prober, by what became of them: checked, late (checked a second or more after their moment) or missed.",
			Worry: "Late or missed grows.",
		}),
		lag: m.Histogram(telemetry.Metric{
			Name: "beaconpost_scheduler_lag_seconds", Help: "Time from a slot's moment to the start of its check.", Worry: "Its p99 is above a second.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		duration: m.Histograms(telemetry.Metric{
			Name: "beaconpost_check_duration_seconds", Labels: []string{"kind", "outcome"}, Help: "Time of a check by kind of monitor and outcome.",
			Worry:   "The share of not_checked grows.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		causes: m.Counters(telemetry.Metric{
			Name: "beaconpost_checks_not_up_total", Labels: []string{"cause"}, Help: "Checks whose outcome was not up, by cause.", Worry: "egress, overload or internal grows: these are ours.",
		}),
		moved: m.Counters(telemetry.Metric{
			Name: "beaconpost_state_transitions_total", Labels: []string{"from", "to"}, Help: "Monitors whose status changed.",
			Worry: "Many to down or unknown at once: more likely our network than theirs.",
		}),
		recorded: m.Counter(telemetry.Metric{Name: "beaconpost_checks_recorded_total", Help: "Results of checks that were stored."}),
		trouble: m.Counters(telemetry.Metric{
			Name: "beaconpost_monitor_trouble_total", Labels: []string{"doing"}, Help: "Failures of the service's own work, by what it was doing. It goes on trying.", Worry: "It grows.",
		}),
		wanted: m.Gauge(telemetry.Metric{Name: "beaconpost_schedules", Help: "Schedules that there have to be at the broker, when they were compared last."}),
		published: m.Counters(telemetry.Metric{
			Name: "beaconpost_schedules_mended_total", Labels: []string{"what"}, Help: "Schedules that a comparison found missing at the broker, or foreign there.", Worry: "It grows without a wipe.",
		}),
		usageBehind: m.Gauge(telemetry.Metric{
			Name: "beaconpost_monitor_usage_behind_seconds", Help: "For how long checks and notifications have not been counted for what tenants used. Every replica says the same. About two minutes are normal.",
			Worry: "Above an hour: hours are closed late, and what is not counted is not dropped. A transaction stays open, or counting fails.",
		}),
		ahead: m.Gauge(telemetry.Metric{
			Name: "beaconpost_monitor_partitions_ahead", Help: "Days after today for which results can be stored; -1: not even today.", Worry: "Below 3.",
		}),
	}
	for _, outcome := range []string{slotChecked, slotLate, slotMissed} {
		o.slots.WithLabelValues(outcome)
	}
	return o
}

// Batch implements monitor.Observer.
func (o *observer) Batch(doing string, items int, took time.Duration) {
	o.batches.Done(doing, items, took)
}

// Checked implements monitor.Observer: one wide line per check.
func (o *observer) Checked(f *monitor.Finding) {
	if f.Traceparent == "" { // nobody made it: there was no room
		f.Traceparent = traceRefused(o.tracer, f)
	}
	traceID, spanID, sampled := telemetry.IDsOf(f.Traceparent)
	telemetry.ObserveIn(traceID, sampled, o.duration.WithLabelValues(string(f.Monitor.Spec.Kind), string(f.Outcome)), f.Duration.Seconds())
	if f.Cause != "" {
		o.causes.WithLabelValues(string(f.Cause)).Inc()
	}
	if f.Confirmation == 0 {
		o.lag.Observe(f.Lag.Seconds())
		outcome := slotChecked
		if f.Lag >= lateFrom {
			outcome = slotLate
		}
		o.slots.WithLabelValues(outcome).Inc()
	}
	event := o.log.Debug()
	if f.Outcome != check.Up {
		event = o.log.Info()
	}
	event.Str("tenant_id", f.Monitor.Tenant.String()).Str("monitor_id", f.Monitor.ID.String()).Str("kind", string(f.Monitor.Spec.Kind)).Str("region", f.Region).
		Int64("slot", f.Slot).Int("confirmation", f.Confirmation).Str("outcome", string(f.Outcome)).Str("cause", string(f.Cause)).Int("status", f.Status).
		Dur("duration_ms", f.Duration).Dur("lag_ms", f.Lag).Str("trace_id", traceID).Str("span_id", spanID).Msg("check")
}

// Skipped implements monitor.Observer.
func (o *observer) Skipped(d monitor.Due, why string) {
	if why != monitor.SkippedRepeated && d.Confirmation == 0 {
		o.slots.WithLabelValues(slotMissed).Inc()
	}
	o.log.Info().Str("tenant_id", d.Tenant.String()).Str("monitor_id", d.ID.String()).Str("why", why).Msg("check not made")
}

// Recorded implements monitor.Observer.
func (o *observer) Recorded(findings int, what monitor.Consequences) {
	o.recorded.Add(float64(findings))
	o.follow(what)
}

func (o *observer) follow(what monitor.Consequences) {
	for _, m := range what.Moved {
		o.moved.WithLabelValues(m.From, m.To).Inc()
	}
}

// Trouble implements monitor.Observer.
func (o *observer) Trouble(doing string, err error) {
	o.trouble.WithLabelValues(doing).Inc()
	o.log.Error().Err(err).Str("doing", doing).Msg("monitor trouble")
}

func (o *observer) compared(c monitorstream.Compared) {
	o.wanted.Set(float64(c.Want))
	o.published.WithLabelValues("missing").Add(float64(c.Missing))
	o.published.WithLabelValues("foreign").Add(float64(c.Foreign))
}

// working is what gauges read.
type working struct {
	inFlight, loading, waiting func() int
	age                        func() time.Duration
	egress, live               func() bool
	most                       int
}

// gauges shows what is going on at this moment.
func gauges(m *telemetry.Metrics, region string, w working) {
	gauge := func(what telemetry.Metric, value func() float64) {
		what.Const = prometheus.Labels{"region": region}
		m.GaugeOf(what, value)
	}
	gauge(telemetry.Metric{
		Name: "beaconpost_checks_in_flight", Help: "Checks that are being made.", Worry: "It stays near the bound.",
	}, func() float64 { return float64(w.inFlight()) })
	gauge(telemetry.Metric{Name: "beaconpost_checks_in_flight_max", Help: "The bound of beaconpost_checks_in_flight."}, func() float64 { return float64(w.most) })
	m.Queues(
		telemetry.Queue{Name: "due", Most: monitor.LoadMost, Len: w.loading},
		telemetry.Queue{Name: "results", Most: monitor.RecordMost, Len: w.waiting},
	)
	gauge(telemetry.Metric{
		Name: "beaconpost_result_buffer_age_seconds", Help: "For how long the oldest result has waited to be stored; 0: none waits.", Worry: "Above 5: verdicts are late by as much.",
	}, func() float64 { return w.age().Seconds() })
	gauge(telemetry.Metric{
		Name: "beaconpost_prober_egress_up", Help: "1 while a canary was reached at the last look, or there are none.", Worry: "0 for longer than a minute.",
	}, func() float64 { return boolean(w.egress()) })
	gauge(telemetry.Metric{
		Name: "beaconpost_prober_consuming", Help: "1 while checks are taken from the broker; 0 without one too.", Worry: "0 for longer than a restart.",
	}, func() float64 { return boolean(w.live()) })
}

// DescribeMetrics makes all that the service has.
func DescribeMetrics(m *telemetry.Metrics) {
	service.DescribeMetrics(m)
	httpapi.DescribeMetrics(m)
	stream.DescribeMetrics(m)
	stream.DescribeLag(m)
	stream.DescribeTopology(m)
	newObserver(m, "", nil, zerolog.Nop())
	notifierMetrics(m)
	gauges(m, "", working{})
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
