package monitor_test

import (
	"testing"
	"time"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

func TestUsageIsCaughtUpWith(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	begin := time.Now().UTC().Add(-3 * time.Hour).Truncate(time.Hour)
	b.Exec(`UPDATE usage_progress SET counted_until = $1`, begin)
	for i := range 8 {
		at := begin.Add(time.Duration(i) * 15 * time.Minute)
		b.Exec(`INSERT INTO monitor_checks (tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, outcome, region, recorded_at) VALUES ($1, $2, $2, 1, $3, 1, 1, 'up', 'eu', $3)`,
			b.tenant.UUID(), uuid7.Beside(uuid7.Floor(at)), at)
	}
	b.start()
	b.eventually("4, 4", `SELECT coalesce(string_agg(checks::text, ', ' ORDER BY hour), '') FROM monitor_usage WHERE tenant_id = $1`, b.tenant.UUID())
}
