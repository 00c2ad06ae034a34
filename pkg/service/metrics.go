package service

import (
	"github.com/prometheus/client_golang/prometheus"
)

func (p *Platform) registerMetrics() {
	gauge := func(name, help string, labels prometheus.Labels, read func() float64) {
		p.Telemetry.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read))
	}
	const connections = "beaconpost_postgres_connections"
	const connectionsHelp = "Connections of the pool by state: used, idle, and max as the bound."
	gauge(connections, connectionsHelp, prometheus.Labels{"state": "used"}, func() float64 { return float64(p.DB.Stat().AcquiredConns()) })
	gauge(connections, connectionsHelp, prometheus.Labels{"state": "idle"}, func() float64 { return float64(p.DB.Stat().IdleConns()) })
	gauge(connections, connectionsHelp, prometheus.Labels{"state": "max"}, func() float64 { return float64(p.DB.Stat().MaxConns()) })
	gauge("beaconpost_broker_connected", "1 while the broker is connected. While it is 0, events are accepted and deliveries wait.", nil, func() float64 {
		if p.NATS.IsConnected() {
			return 1
		}
		return 0
	})
}
