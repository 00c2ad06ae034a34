package notice_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

func TestTypes(t *testing.T) {
	t.Parallel()
	for _, name := range notice.Types() {
		require.True(t, notice.Reserved(name), name)
	}
	for name, about := range map[string]bool{
		notice.EndpointFailing: true, notice.DeliveryExhausted: true, notice.MonitorDown: false, notice.IncidentResolved: false,
		"order.paid": false, "endpoint.of_mine": false, "": false,
	} {
		require.Equal(t, about, notice.AboutDelivery(name), name)
	}
	require.False(t, notice.Reserved("monitor.on_sale"))
}

func TestThePayloadHasTheShapeOfStandardWebhooks(t *testing.T) {
	t.Parallel()
	owner := tenant.ID(uuid.New())
	n, err := notice.New(owner, notice.MonitorUp, time.Date(2026, 3, 29, 2, 30, 0, 0, time.FixedZone("", 3600)), map[string]int{"a": 1})
	require.NoError(t, err)
	require.Equal(t, owner, n.Tenant)
	require.JSONEq(t, `{"type":"monitor.up","timestamp":"2026-03-29T01:30:00Z","data":{"a":1}}`, string(n.Payload))
	_, err = notice.New(owner, notice.MonitorUp, time.Now(), func() {})
	require.Error(t, err)
}
