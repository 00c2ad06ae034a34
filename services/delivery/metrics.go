package delivery

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
)

// observer counts and logs what the engine does.
type observer struct {
	log  zerolog.Logger
	jobs *telemetry.Jobs

	batches *telemetry.Batches

	deliveries *prometheus.CounterVec
	attempts   *prometheus.HistogramVec
	latency    prometheus.Histogram

	firstLatency prometheus.Histogram

	discarded   prometheus.Counter
	republished prometheus.Counter
	trouble     *prometheus.CounterVec
	breaker     *prometheus.CounterVec
	troubled    *prometheus.GaugeVec
	disabled    *prometheus.CounterVec
	probes      prometheus.Counter
	drained     prometheus.Counter
	overflowed  prometheus.Counter
	adopted     prometheus.Counter
	scrubbed    prometheus.Counter
	expired     prometheus.Counter
	unaccounted prometheus.Gauge
	oldest      prometheus.Gauge
	ahead       prometheus.Gauge
	usageBehind prometheus.Gauge
}

var _ delivery.Observer = (*observer)(nil)

func newObserver(m *telemetry.Metrics, log zerolog.Logger) *observer {
	o := &observer{
		log: log, jobs: telemetry.NewJobs(m), batches: telemetry.NewBatches(m),
		deliveries: m.Counters(telemetry.Metric{
			Name: "beaconpost_deliveries_total", Labels: []string{"outcome"},
			Help: "Attempts that changed their delivery, by what it became: delivered, exhausted, or retry.", Worry: "Exhausted grows.",
		}),
		attempts: m.Histograms(telemetry.Metric{
			Name: "beaconpost_delivery_attempt_duration_seconds", Labels: []string{"result"},
			Help:    "Time of one attempt by result: the class of the HTTP status, or of the error.",
			Worry:   "One class of error grows for many endpoints at once: more likely our network than theirs.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30},
		}),
		latency: m.Histogram(telemetry.Metric{
			Name: "beaconpost_delivery_latency_seconds", Help: "Time from an event's acceptance to the record of its delivery, retries included.", Worry: "Its p99 grows without retries.",
			Buckets: latencyBuckets(),
		}),
		firstLatency: m.Histogram(telemetry.Metric{
			Name: "beaconpost_delivery_first_attempt_latency_seconds", Help: "Time from an event's acceptance to the end of the first attempt, whatever came of it. Not of deliveries that were parked because of their endpoint: broken, disabled, or with a rate_limit.",
			Worry: "Its p99 grows: we are late, not the endpoints.", Buckets: latencyBuckets(),
		}),
		discarded: m.Counter(telemetry.Metric{Name: "beaconpost_delivery_messages_discarded_total", Help: "Broker messages that were out of date: the delivery had moved on."}),
		republished: m.Counter(telemetry.Metric{
			Name: "beaconpost_reconciler_republished_total", Help: "Deliveries that the reconciler published because nobody seemed to work on them.", Worry: "It grows without an outage.",
		}),
		trouble: m.Counters(telemetry.Metric{
			Name: "beaconpost_delivery_trouble_total", Labels: []string{"doing"}, Help: "Failures of the engine's own work, by what it was doing. It goes on trying.", Worry: "It grows.",
		}),
		unaccounted: m.Gauge(telemetry.Metric{
			Name:  "beaconpost_deliveries_unaccounted",
			Help:  "Pending deliveries overdue by more than the grace, in the whole database, counted up to 100000, so that no message for them can be at the broker. Every replica says the same.",
			Worry: "It does not return to 0.",
		}),
		oldest: m.Gauge(telemetry.Metric{
			Name: "beaconpost_deliveries_unaccounted_oldest_age_seconds", Help: "For how long the oldest unaccounted delivery has been due; 0 if there is none.", Worry: "It grows.",
		}),
		ahead: m.Gauge(telemetry.Metric{Name: "beaconpost_partitions_ahead", Help: "Days after today for which partitions exist; -1: not even today.", Worry: "Below 3."}),
	}
	o.usageBehind = m.Gauge(telemetry.Metric{
		Name: "beaconpost_usage_behind_seconds", Help: "For how long events, deliveries and attempts have not been counted for what tenants used. Every replica says the same. About two minutes are normal.",
		Worry: "Above an hour: hours are closed late, and what is not counted is not dropped. A transaction stays open, or counting fails.",
	})
	o.breaker = m.Counters(telemetry.Metric{
		Name: "beaconpost_endpoint_breaker_transitions_total", Labels: []string{"state"}, Help: "Breakers of endpoints that changed their state, by the new one.",
		Worry: "`open` grows fast: many endpoints at once are more likely our network than theirs.",
	})
	o.troubled = m.Gauges(telemetry.Metric{
		Name: "beaconpost_endpoints_in_trouble", Labels: []string{"state"},
		Help:  "Endpoints of all tenants that failed lately, by state: failing, open (deliveries are parked) or draining. Every replica says the same.",
		Worry: "`open` jumps: many endpoints at once are more likely our network than theirs.",
	})
	o.disabled = m.Counters(telemetry.Metric{
		Name: "beaconpost_endpoints_disabled_total", Labels: []string{"reason"}, Help: "Endpoints that were disabled, by reason: gone (410) or disabled (uninterrupted failure).", Worry: "Many at once.",
	})
	o.probes = m.Counter(telemetry.Metric{Name: "beaconpost_endpoint_probes_total", Help: "Parked deliveries that were let through to see whether an endpoint has recovered."})
	o.drained = m.Counter(telemetry.Metric{Name: "beaconpost_deliveries_drained_total", Help: "Parked deliveries that were let go after an endpoint recovered or was enabled."})
	o.overflowed = m.Counter(telemetry.Metric{
		Name: "beaconpost_deliveries_overflowed_total", Help: "Deliveries that were parked because more was due for their endpoint than it takes.",
		Worry: "It grows for long: somebody sends more than an endpoint takes.",
	})
	o.adopted = m.Counter(telemetry.Metric{
		Name: "beaconpost_parked_adopted_total", Help: "Endpoints that did well and had parked deliveries nobody took up.", Worry: "It grows without restarts.",
	})
	o.scrubbed = m.Counter(telemetry.Metric{Name: "beaconpost_payloads_scrubbed_total", Help: "Payloads that were emptied because their tenant does not keep them for longer."})
	o.expired = m.Counter(telemetry.Metric{Name: "beaconpost_deliveries_expired_total", Help: "Parked deliveries that were cancelled for their age."})
	for _, state := range []health.State{health.Open, health.Draining, health.Closed} {
		o.breaker.WithLabelValues(string(state))
	}
	o.inTrouble(nil)
	for _, reason := range []health.Reason{health.ByGone, health.ByDisabling} {
		o.disabled.WithLabelValues(string(reason))
	}
	for _, outcome := range []string{"delivered", "exhausted", "retry"} {
		o.deliveries.WithLabelValues(outcome)
	}
	for _, class := range delivery.Classes() {
		o.attempts.WithLabelValues(string(class))
	}
	for _, result := range []string{"2xx", "3xx", "4xx", "5xx"} {
		o.attempts.WithLabelValues(result)
	}
	return o
}

// reconciled shows what a round of the reconciler did and found.
func (o *observer) reconciled(report delivery.Report) {
	o.republished.Add(float64(report.Published))
	if report.Counted {
		o.unaccounted.Set(float64(report.Unaccounted))
		o.oldest.Set(report.Oldest.Seconds())
	}
}

// inTrouble shows how many endpoints are in which state.
func (o *observer) inTrouble(counts map[health.State]int) {
	for _, state := range []health.State{health.Failing, health.Open, health.Draining} {
		o.troubled.WithLabelValues(string(state)).Set(float64(counts[state]))
	}
}

func latencyBuckets() []float64 {
	return []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200}
}

// workGauges shows what is going on at this moment.
func workGauges(m *telemetry.Metrics, most int, inFlight func() int, live func() bool) {
	m.GaugeOf(telemetry.Metric{
		Name: "beaconpost_delivery_in_flight", Help: "Deliveries that are being checked, sent or recorded.", Worry: "It stays near the bound.",
	}, func() float64 { return float64(inFlight()) })
	m.GaugeOf(telemetry.Metric{Name: "beaconpost_delivery_in_flight_max", Help: "The bound of beaconpost_delivery_in_flight."}, func() float64 { return float64(most) })
	m.GaugeOf(telemetry.Metric{Name: "beaconpost_delivery_consuming", Help: "1 while all shards are consumed; 0 without a broker too.", Worry: "0 for longer than a restart."}, func() float64 {
		if live() {
			return 1
		}
		return 0
	})
}

// queues shows what waits in the engine. In lanes there are no more than the slots hold.
func queues(m *telemetry.Metrics, slots int, queued func() (turn, change, record int)) {
	m.Queues(
		telemetry.Queue{Name: "turn", Most: slots, Len: func() int { n, _, _ := queued(); return n }},
		telemetry.Queue{Name: "change", Most: slots, Len: func() int { _, n, _ := queued(); return n }},
		telemetry.Queue{Name: "record", Most: slots, Len: func() int { _, _, n := queued(); return n }},
	)
}

// DescribeMetrics makes all that the service has.
func DescribeMetrics(m *telemetry.Metrics) {
	service.DescribeMetrics(m)
	httpapi.DescribeMetrics(m)
	stream.DescribeMetrics(m)
	stream.DescribeLag(m)
	stream.DescribeTopology(m)
	newObserver(m, zerolog.Nop())
	workGauges(m, 0, nil, nil)
	queues(m, 0, nil)
}

// Attempted implements delivery.Observer: one wide line per attempt.
func (o *observer) Attempted(f delivery.Finished) {
	telemetry.ObserveIn(f.Attempt.TraceID, f.Attempt.Sampled, o.attempts.WithLabelValues(result(f.Attempt)), f.Attempt.Duration.Seconds())
	if f.Attempt.Number == 1 && !f.Job.Waited {
		telemetry.ObserveIn(f.Attempt.TraceID, f.Attempt.Sampled, o.firstLatency, time.Since(uuid7.Time(f.Job.EventID)).Seconds())
	}
	event := o.log.Info().
		Str("tenant_id", f.Job.Tenant.String()).Str("event_id", f.Job.EventID.String()).Str("event_type", f.Job.EventType).
		Str("endpoint_id", f.Job.Target.EndpointID.String()).Str("delivery_id", f.Job.ID.String()).
		Int("attempt", f.Attempt.Number).Int("status", f.Attempt.StatusCode).Str("error_class", string(f.Attempt.Class)).
		Str("outcome", outcome(f)).Dur("duration_ms", f.Attempt.Duration).Int("payload_bytes", len(f.Job.Payload)).
		Str("trace_id", f.Attempt.TraceID).Str("span_id", f.Attempt.SpanID)
	if f.Outcome.Status == delivery.Pending {
		event = event.Time("next_attempt_at", f.Outcome.Next)
	}
	event.Msg("attempt")
}

// Settled implements delivery.Observer.
func (o *observer) Settled(f delivery.Finished) {
	o.deliveries.WithLabelValues(outcome(f)).Inc()
	if f.Outcome.Status == delivery.Delivered {
		o.latency.Observe(time.Since(uuid7.Time(f.Job.EventID)).Seconds())
	}
}

// Discarded implements delivery.Observer.
func (o *observer) Discarded(messages int) { o.discarded.Add(float64(messages)) }

// Trouble implements delivery.Observer.
func (o *observer) Trouble(doing string, err error) {
	o.trouble.WithLabelValues(doing).Inc()
	o.log.Error().Err(err).Str("doing", doing).Msg("engine trouble")
}

var _ health.Observer = (*observer)(nil)

// Moved implements health.Observer: one line for each change of a breaker.
func (o *observer) Moved(key health.Key, taken health.Taken) {
	step := &taken.Step
	if step.Probe {
		o.probes.Inc()
	}
	if step.Disable {
		o.disabled.WithLabelValues(string(step.Reason)).Inc()
	}
	if step.State == taken.Before || step.State == health.Failing {
		return
	}
	o.breaker.WithLabelValues(string(step.State)).Inc()
	event := o.log.Warn()
	if step.State != health.Open {
		event = o.log.Info()
	}
	event.Str("tenant_id", key.Tenant.String()).Str("endpoint_id", key.Endpoint.String()).Str("from", string(taken.Before)).Str("to", string(step.State)).
		Str("reason", string(step.Reason)).Int("failures", step.Failures).Int("last_status", step.LastStatus).Str("last_error_class", step.LastClass).Bool("disabled", step.Disable).
		Msg("breaker of an endpoint")
}

// Batch implements delivery.Observer.
func (o *observer) Batch(doing string, items int, took time.Duration) {
	o.batches.Done(doing, items, took)
}

// Overflowed implements delivery.Observer.
func (o *observer) Overflowed(deliveries int) { o.overflowed.Add(float64(deliveries)) }

// Drained implements health.Observer.
func (o *observer) Drained(deliveries int) { o.drained.Add(float64(deliveries)) }

func outcome(f delivery.Finished) string {
	if f.Outcome.Status == delivery.Pending {
		return "retry"
	}
	return string(f.Outcome.Status)
}

func result(a *delivery.Attempt) string {
	if a.Class != "" {
		return string(a.Class)
	}
	if a.StatusCode < 100 || a.StatusCode > 599 {
		return "other"
	}
	return strconv.Itoa(a.StatusCode/100) + "xx"
}
