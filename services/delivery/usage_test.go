package delivery_test

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// Replicas that start after an outage of hours catch up at once, and say how far they are.
func TestUsageIsCaughtUpWith(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	begin := time.Now().UTC().Add(-6 * time.Hour).Truncate(time.Hour)
	b.Exec(`UPDATE usage_progress SET counted_until = $1`, begin)
	b.Exec(`SELECT beaconpost_ensure_partitions(($1::timestamptz AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date)`, begin)
	for i := range 20 {
		at := begin.Add(time.Duration(i) * 15 * time.Minute)
		b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload, recorded_at) VALUES ($1, $2, 'order.paid', '123', $3)`, b.tenant.UUID(), uuid7.Beside(uuid7.Floor(at)), at)
	}
	b.start()
	b.start()
	const counted = `SELECT string_agg(concat_ws(' ', events, event_bytes), ', ' ORDER BY hour) FROM tenant_usage WHERE tenant_id = $1
HAVING (SELECT counted_until > now() - interval '5 minutes' FROM usage_progress WHERE part = 'delivery')`
	require.Eventually(t, func() bool { return b.Query(counted, b.tenant.UUID()) == "4 12, 4 12, 4 12, 4 12, 4 12" }, 90*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		w := httptest.NewRecorder()
		b.service.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for line := range strings.Lines(w.Body.String()) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "beaconpost_usage_behind_seconds "); ok {
				behind, err := strconv.ParseFloat(value, 64)
				require.NoError(t, err)
				return behind > 0 && behind < 600
			}
		}
		return false
	}, 90*time.Second, 50*time.Millisecond)
}
