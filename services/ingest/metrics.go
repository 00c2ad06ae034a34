package ingest

import (
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	ingestpg "github.com/beaconpost/beaconpost/services/ingest/internal/postgres"
)

// DescribeMetrics makes all that the service has.
func DescribeMetrics(m *telemetry.Metrics) {
	service.DescribeMetrics(m)
	httpapi.DescribeMetrics(m)
	stream.DescribeMetrics(m)
	ingestpg.NewMetrics(m)
	m.Queues(ingestpg.CommitQueue())
}
