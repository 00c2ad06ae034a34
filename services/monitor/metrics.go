package monitor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	monitorstream "github.com/beaconpost/beaconpost/services/monitor/internal/stream"
)

// observer counts and logs what the service does. No label names a tenant or a monitor.
type observer struct {
	log    zerolog.Logger
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
}

var _ monitor.Observer = (*observer)(nil)

// The outcomes of slots, as far as the process that got them knows: what nobody got is counted in the monitors' schedules.
const (
	slotChecked = "checked"
	slotLate    = "late" // checked, a second or more after its moment
	slotMissed  = "missed"
	lateFrom    = time.Second
)

func newObserver(reg prometheus.Registerer, region string, log zerolog.Logger) *observer {
	f := promauto.With(reg)
	o := &observer{
		log: log, region: region,
		slots: f.NewCounterVec(prometheus.CounterOpts{
			Name: "beaconpost_scheduler_slots_total", Help: "Slots of monitors that came to this prober, by what became of them: checked, late (checked a second or more after their moment) or missed.",
		}, []string{"outcome"}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name: "beaconpost_scheduler_lag_seconds", Help: "Time from a slot's moment to the start of its check.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "beaconpost_check_duration_seconds", Help: "Time of a check by kind of monitor and outcome.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"kind", "outcome"}),
		causes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "beaconpost_checks_not_up_total", Help: "Checks whose outcome was not up, by cause.",
		}, []string{"cause"}),
		moved: f.NewCounterVec(prometheus.CounterOpts{
			Name: "beaconpost_state_transitions_total", Help: "Monitors whose status changed.",
		}, []string{"from", "to"}),
		recorded:  f.NewCounter(prometheus.CounterOpts{Name: "beaconpost_checks_recorded_total", Help: "Results of checks that were stored."}),
		trouble:   f.NewCounterVec(prometheus.CounterOpts{Name: "beaconpost_monitor_trouble_total", Help: "Failures of the service's own work, by what it was doing. It goes on trying."}, []string{"doing"}),
		wanted:    f.NewGauge(prometheus.GaugeOpts{Name: "beaconpost_schedules", Help: "Schedules that there have to be at the broker, when they were compared last."}),
		published: f.NewCounterVec(prometheus.CounterOpts{Name: "beaconpost_schedules_mended_total", Help: "Schedules that a comparison found missing at the broker, or foreign there."}, []string{"what"}),
		ahead:     f.NewGauge(prometheus.GaugeOpts{Name: "beaconpost_monitor_partitions_ahead_days", Help: "Days after today for which results can be stored; -1: not even today."}),
	}
	for _, outcome := range []string{slotChecked, slotLate, slotMissed} {
		o.slots.WithLabelValues(outcome)
	}
	return o
}

// Checked implements monitor.Observer: one wide line per check.
func (o *observer) Checked(f *monitor.Finding) {
	o.duration.WithLabelValues(string(f.Monitor.Spec.Kind), string(f.Outcome)).Observe(f.Duration.Seconds())
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
		Dur("duration_ms", f.Duration).Dur("lag_ms", f.Lag).Msg("check")
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

// gauges shows what is going on at this moment.
func gauges(reg prometheus.Registerer, region string, engine *monitor.Engine, egress *monitor.Canaries, live func() bool) {
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"region": region}}, value))
	}
	gauge("beaconpost_checks_in_flight", "Checks that are being made.", func() float64 { return float64(engine.InFlight()) })
	gauge("beaconpost_results_waiting", "Results that wait to be stored.", func() float64 { return float64(engine.Waiting()) })
	gauge("beaconpost_result_buffer_age_seconds", "For how long the oldest result has waited to be stored; 0: none waits.", func() float64 { return engine.Age().Seconds() })
	gauge("beaconpost_prober_egress_up", "1 while a canary was reached at the last look, or there are none.", func() float64 { return boolean(egress.IsUp()) })
	gauge("beaconpost_prober_consuming", "1 while checks are taken from the broker.", func() float64 { return boolean(live()) })
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
