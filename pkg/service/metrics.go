package service

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

const (
	lookEvery = 5 * time.Second
	lookMost  = 2 * time.Second
)

// startLooks looks whether Postgres answers.
func (p *Platform) startLooks() {
	p.reached.Store(true)
	looks := lifecycle.NewGroup(context.Background())
	look := func(ctx context.Context) {
		bounded, cancel := context.WithTimeout(ctx, lookMost)
		defer cancel()
		p.reached.Store(p.DB.Ping(bounded) == nil || ctx.Err() != nil)
	}
	looks.Go(look)
	looks.Every(lookEvery, look)
	p.Push("looks at Postgres", lookMost+time.Second, looks.Stop)
}

func (p *Platform) registerMetrics() {
	describe(p.Telemetry.Metrics, func() *pgxpool.Stat { return p.DB.Stat() }, p.reached.Load, func() bool { return p.NATS.IsConnected() })
}

// DescribeMetrics makes those that every service has.
func DescribeMetrics(m *telemetry.Metrics) { describe(m, nil, nil, nil) }

func describe(m *telemetry.Metrics, pool func() *pgxpool.Stat, reached, connected func() bool) {
	truth := func(what telemetry.Metric, is func() bool) {
		m.GaugeOf(what, func() float64 {
			if is() {
				return 1
			}
			return 0
		})
	}
	truth(telemetry.Metric{
		Name: "beaconpost_postgres_up", Help: "1 while Postgres answered within two seconds at the last look, every five seconds. While it is 0, events are refused.", Worry: "0 for longer than a restart.",
	}, reached)
	truth(telemetry.Metric{
		Name: "beaconpost_broker_connected", Help: "1 while the broker is connected. While it is 0, events are accepted and deliveries wait.", Worry: "0 for longer than a restart.",
	}, connected)
	connections := telemetry.Metric{
		Name: "beaconpost_postgres_connections", Help: "Connections of the pool by state: used, idle, and max as the bound.", Worry: "Used stays at max: requests and work wait for a connection.",
	}
	for state, read := range map[string]func(*pgxpool.Stat) int32{"used": (*pgxpool.Stat).AcquiredConns, "idle": (*pgxpool.Stat).IdleConns, "max": (*pgxpool.Stat).MaxConns} {
		connections.Const = prometheus.Labels{"state": state}
		m.GaugeOf(connections, func() float64 { return float64(read(pool())) })
	}
	m.CounterOf(telemetry.Metric{
		Name: "beaconpost_postgres_acquire_wait_seconds_total", Help: "Time that work waited for a connection of the pool.", Worry: "It grows by more than a tenth of a second per second.",
	}, func() float64 { return pool().AcquireDuration().Seconds() })
	m.CounterOf(telemetry.Metric{
		Name: "beaconpost_postgres_acquire_waits_total", Help: "Times that work found no idle connection in the pool.",
	}, func() float64 { return float64(pool().EmptyAcquireCount()) })
}
