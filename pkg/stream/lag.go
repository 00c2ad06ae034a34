package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

// Lag shows how far the consumers of a stream are behind, when it was looked at last. Every replica shows the same.
type Lag struct {
	js     jetstream.JetStream
	stream string
	lagMetrics
}

type lagMetrics struct{ pending, unacknowledged, redelivered *prometheus.GaugeVec }

// DescribeLag makes the metrics of a Lag.
func DescribeLag(m *telemetry.Metrics) { newLagMetrics(m) }

func newLagMetrics(m *telemetry.Metrics) lagMetrics {
	labels := []string{"consumer"}
	return lagMetrics{
		pending: m.Gauges(telemetry.Metric{
			Name: "beaconpost_consumer_pending", Labels: labels, Help: "Messages of the stream that the consumer has not given to anybody. Every replica says the same.",
			Worry: "It grows for minutes: less is taken than comes.",
		}),
		unacknowledged: m.Gauges(telemetry.Metric{
			Name: "beaconpost_consumer_ack_pending", Labels: labels, Help: "Messages that were given to a process, which has not acknowledged them yet.",
		}),
		redelivered: m.Gauges(telemetry.Metric{
			Name: "beaconpost_consumer_redelivered", Labels: labels, Help: "Messages that were given out more than once and are not acknowledged yet.",
			Worry: "Above 0 without a restart: a process takes messages and does not finish them.",
		}),
	}
}

// NewLag makes one of a stream.
func NewLag(nc *nats.Conn, m *telemetry.Metrics, stream string) (*Lag, error) {
	js, err := JetStream(nc)
	return &Lag{js, stream, newLagMetrics(m)}, err
}

// Look looks at the consumers. While the stream cannot be asked for, what was seen last stays.
func (l *Lag) Look(ctx context.Context) error {
	str, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return fmt.Errorf("find stream %s: %w", l.stream, err)
	}
	consumers := str.ListConsumers(ctx)
	for info := range consumers.Info() {
		l.pending.WithLabelValues(info.Name).Set(float64(info.NumPending))
		l.unacknowledged.WithLabelValues(info.Name).Set(float64(info.NumAckPending))
		l.redelivered.WithLabelValues(info.Name).Set(float64(info.NumRedelivered))
	}
	if err := consumers.Err(); err != nil {
		return fmt.Errorf("list consumers of %s: %w", l.stream, err)
	}
	return nil
}
