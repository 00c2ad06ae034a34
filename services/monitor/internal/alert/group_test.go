package alert_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

func second(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }

// waits is a notification of one tenant for ops, that waits for 30 seconds.
func waits(incident byte, kind alert.Kind, dueAt int) alert.Notification {
	return alert.Notification{
		ID: uuid.UUID{incident, byte(dueAt), kind[0]}, Tenant: tenant.ID{1}, Channel: ops, Kind: kind, Incident: uuid.UUID{incident},
		DueAt: second(dueAt), GroupFor: 30 * time.Second,
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	other := func(change func(*alert.Notification)) alert.Notification {
		n := waits(2, alert.Fire, 1)
		change(&n)
		return n
	}
	one := waits(1, alert.Fire, 0)
	for name, tt := range map[string]struct {
		pending []alert.Notification
		at      int
		want    [][]byte // the incidents of the batches
		next    int      // 0: not asked for
	}{
		"none":                  {at: 100},
		"a lone one waits":      {pending: []alert.Notification{one}, at: 29, next: 30},
		"and is sent":           {pending: []alert.Notification{one}, at: 30, want: [][]byte{{1}}},
		"together":              {pending: []alert.Notification{waits(3, alert.Fire, 30), waits(2, alert.Fire, 10), one}, at: 30, want: [][]byte{{1, 2, 3}}},
		"too late for it":       {pending: []alert.Notification{waits(3, alert.Fire, 31), one}, at: 31, want: [][]byte{{1}}, next: 61},
		"both overdue":          {pending: []alert.Notification{waits(3, alert.Fire, 31), one}, at: 99, want: [][]byte{{1}, {3}}},
		"another tenant":        {pending: []alert.Notification{one, other(func(n *alert.Notification) { n.Tenant = tenant.ID{2} })}, at: 31, want: [][]byte{{1}, {2}}},
		"another channel":       {pending: []alert.Notification{one, other(func(n *alert.Notification) { n.Channel = boss })}, at: 31, want: [][]byte{{1}, {2}}},
		"another kind":          {pending: []alert.Notification{one, waits(2, alert.Escalate, 0)}, at: 31, want: [][]byte{{1}, {2}}},
		"one does not wait":     {pending: []alert.Notification{one, other(func(n *alert.Notification) { n.GroupFor = 0 })}, at: 1, want: [][]byte{{1, 2}}},
		"the end is not first":  {pending: []alert.Notification{one, overdue(1, alert.Resolve, 2)}, at: 2, want: [][]byte{{1}, {1}}},
		"nor by way of another": {pending: []alert.Notification{one, waits(1, alert.Remind, 1), waits(2, alert.Remind, 1), overdue(2, alert.Resolve, 2)}, at: 2, want: [][]byte{{1}, {1, 2}, {2}}},
		"an end, and the next":  {pending: []alert.Notification{waits(9, alert.Fire, 40), waits(1, alert.Resolve, 0), one}, at: 99, want: [][]byte{{1}, {1}, {9}}},
		"an end waits for a beginning": {
			pending: []alert.Notification{one, waits(7, alert.Fire, 35), waits(8, alert.Resolve, 33), waits(7, alert.Resolve, 50)}, at: 99,
			want: [][]byte{{1}, {7}, {8, 7}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready, next := alert.Group(tt.pending, second(tt.at))
			var got [][]byte
			for _, b := range ready {
				var incidents []byte
				for _, n := range b {
					incidents = append(incidents, n.Incident[0])
				}
				got = append(got, incidents)
			}
			require.Equal(t, tt.want, got)
			if tt.next == 0 {
				require.True(t, next.IsZero())
				return
			}
			require.Equal(t, second(tt.next), next)
		})
	}
}

// overdue does not wait.
func overdue(incident byte, kind alert.Kind, dueAt int) alert.Notification {
	n := waits(incident, kind, dueAt)
	n.GroupFor = 0
	return n
}

func TestRandomGroups(t *testing.T) {
	t.Parallel()
	kinds := []alert.Kind{alert.Fire, alert.Escalate, alert.Remind, alert.Resolve}
	rapid.Check(t, func(t *rapid.T) {
		var pending []alert.Notification
		sent := map[[2]uuid.UUID]int{} // of a channel and an incident: the kind
		told := map[[2]uuid.UUID]int{} // what became due
		var next time.Time
		for now := range 120 {
			for range rapid.IntRange(0, 2).Draw(t, "new ones") {
				story := [2]uuid.UUID{{byte(rapid.IntRange(1, 2).Draw(t, "channel"))}, {byte(rapid.IntRange(1, 9).Draw(t, "incident"))}}
				if told[story] >= len(kinds) {
					continue
				}
				told[story] = rapid.IntRange(told[story], len(kinds)-1).Draw(t, "kind") + 1
				pending = append(pending, alert.Notification{
					ID: uuid.New(), Tenant: tenant.ID{1}, Channel: story[0], Incident: story[1], Kind: kinds[told[story]-1], DueAt: second(now),
					GroupFor: time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second,
				})
				next = time.Time{} // there are more
			}
			if !next.IsZero() && second(now).Before(next) {
				continue
			}
			before := slices.Clone(pending)
			var ready []alert.Batch
			ready, next = alert.Group(pending, second(now))
			require.Equal(t, before, pending, "what was given is left alone")
			for _, b := range ready {
				for _, n := range b {
					require.Equal(t, []any{b[0].Tenant, b[0].Channel, b[0].Kind}, []any{n.Tenant, n.Channel, n.Kind})
					require.LessOrEqual(t, n.DueAt.Sub(b[0].DueAt), b[0].GroupFor)
					require.LessOrEqual(t, second(now).Sub(n.DueAt), n.GroupFor, "nobody waits longer than it said")
					story, rank := [2]uuid.UUID{n.Channel, n.Incident}, slices.Index(kinds, n.Kind)+1
					require.Greater(t, rank, sent[story], "in order, and once")
					sent[story] = rank
					pending = slices.DeleteFunc(pending, func(o alert.Notification) bool { return o.ID == n.ID })
				}
			}
			require.Equal(t, len(pending) == 0, next.IsZero())
			require.True(t, next.IsZero() || next.After(second(now)))
		}
	})
}
