package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// closeMinutes has what was stored until so long ago counted by the next process that counts, instead of until a minute before its seal.
func (s *system) closeMinutes(ago time.Duration) {
	s.t.Helper()
	s.query(`UPDATE usage_progress SET sealed_at = now() + $1::interval, sealed_xid = pg_snapshot_xmax(pg_current_snapshot()) RETURNING part`, time.Minute-ago)
}

// Everything is killed under load, also while it counts. What is counted in the end is what is stored.
func TestUsageIsExactWhateverDies(t *testing.T) {
	t.Parallel()
	s := startSystem(t, 2)
	e := s.receive(nil, nil)
	load := s.produce(producers)
	for n := range 4 {
		load.atLeast(200)
		s.closeMinutes(time.Second)
		s.Deliveries[0].Kill()
		s.replaceDelivery() // which counts at once
		load.atLeast(20)
		s.Ingest.Kill()
		s.startIngest()
		if n == 2 {
			s.stopPostgres()
			s.startPostgres()
		}
	}
	load.finish()
	s.settled(settling)
	load.check(t, e, load.count(), "whatever was answered and not recorded") // see faults_test.go for less

	const stored = `SELECT concat_ws(' ', (SELECT count(*) FROM webhook_events), (SELECT sum(octet_length(payload)) FROM webhook_events), (SELECT count(*) FROM deliveries),
(SELECT count(*) FROM delivery_attempts), (SELECT count(*) FROM deliveries WHERE status = 'delivered'))`
	want := s.query(stored)
	require.NotEqual(t, "0", s.query(`SELECT coalesce(sum(events), 0)::text FROM tenant_usage`), "something was counted in between")
	s.closeMinutes(0) // nothing is stored any more
	s.terminate(s.Deliveries[0])
	s.replaceDelivery()
	token, err := s.OperatorToken()
	require.NoError(t, err)
	path := "/v1/tenants/" + s.query(`SELECT tenant_id::text FROM webhook_events LIMIT 1`) + "/usage"
	var got string
	require.Eventually(t, func() bool {
		var usage struct {
			Total struct {
				Events     int64
				EventBytes int64 `json:"event_bytes"`
				Deliveries int64
				Attempts   int64
				Delivered  int64
			}
		}
		s.call(token, "GET", path, nil, &usage)
		u := usage.Total
		got = fmt.Sprint(u.Events, u.EventBytes, u.Deliveries, u.Attempts, u.Delivered)
		return got == want
	}, 30*time.Second, 200*time.Millisecond, "what is stored and what was counted")
	require.Equal(t, s.query(`SELECT count(*)::text FROM webhook_events`), fmt.Sprint(load.count()))
}
