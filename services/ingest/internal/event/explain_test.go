package event_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	shop, staging, other := uuid.New(), uuid.New(), uuid.New()
	at := func(minute int) uuid.UUID { return uuid7.Floor(now.Add(time.Duration(minute) * time.Minute)) }
	pending := func(next time.Time) *event.Sent { return &event.Sent{Status: "pending", NextAttemptAt: next} }
	for name, tt := range map[string]struct {
		event func(e *event.Event)
		c     func(c *event.Candidate)
		want  event.Explanation
	}{
		"wanted":                {want: event.Explanation{Matched: true, Why: event.TypeMatches}},
		"wanted then":           {c: func(c *event.Candidate) { c.Filter = []string{"user.*"} }, want: event.Explanation{Matched: true, Why: event.TypeWantedNot}},
		"moved to a project":    {c: func(c *event.Candidate) { c.ProjectID = &shop }, want: event.Explanation{Matched: true, Why: event.TypeWantedNot}},
		"named":                 {event: func(e *event.Event) { e.EndpointID = &other }, want: event.Explanation{Matched: true, Why: event.Named}},
		"operational":           {event: func(e *event.Event) { e.Type = "endpoint.failing" }, want: event.Explanation{Matched: true, Why: event.ByBeaconpost}},
		"another named":         {event: func(e *event.Event) { e.EndpointID = &other }, c: unsent, want: event.Explanation{Why: event.AnotherNamed}},
		"created later":         {c: func(c *event.Candidate) { unsent(c); c.ID = at(1) }, want: event.Explanation{Why: event.CreatedLater}},
		"another project":       {event: func(e *event.Event) { e.ProjectID = &shop }, c: func(c *event.Candidate) { unsent(c); c.ProjectID = &staging }, want: event.Explanation{Why: event.OtherProject}},
		"not wanted":            {c: func(c *event.Candidate) { unsent(c); c.Filter = []string{"user.*"} }, want: event.Explanation{Why: event.TypeFiltered}},
		"wanted only now":       {c: unsent, want: event.Explanation{Why: event.ChangedSince}},
		"operational, not sent": {event: func(e *event.Event) { e.Type = "delivery.exhausted" }, c: unsent, want: event.Explanation{Why: event.ByBeaconpost}},
		"due":                   {c: func(c *event.Candidate) { c.Sent = pending(now.Add(-time.Second)) }, want: event.Explanation{Matched: true, Why: event.TypeMatches, Waiting: event.ForWorker}},
		"retry":                 {c: func(c *event.Candidate) { c.Sent = pending(now.Add(time.Hour)) }, want: event.Explanation{Matched: true, Why: event.TypeMatches, Waiting: event.ForRetry, Until: now.Add(time.Hour)}},
		"in progress":           {c: func(c *event.Candidate) { c.Sent = &event.Sent{Status: "pending", Claimed: true} }, want: event.Explanation{Matched: true, Why: event.TypeMatches, Waiting: event.ForAnswer}},
		"disabled": {c: func(c *event.Candidate) { c.Sent, c.Status = pending(now.Add(time.Hour)), endpoint.Disabled },
			want: event.Explanation{Matched: true, Why: event.TypeMatches, Waiting: event.ForEnabling}},
		"breaker open": {c: func(c *event.Candidate) {
			c.Sent, c.Health.Breaker, c.Health.NextProbeAt = pending(time.Time{}), "open", now.Add(time.Minute)
		}, want: event.Explanation{Matched: true, Why: event.TypeMatches, Waiting: event.ForProbe, Until: now.Add(time.Minute)}},
		"draining":               {c: func(c *event.Candidate) { c.Sent, c.Health.Breaker = pending(time.Time{}), "draining" }, want: event.Explanation{Matched: true, Why: event.TypeMatches, Waiting: event.ForDrain}},
		"let go while it drains": {c: func(c *event.Candidate) { c.Sent, c.Health.Breaker = pending(now), "draining" }, want: event.Explanation{Matched: true, Why: event.TypeMatches, Waiting: event.ForWorker}},
	} {
		e := event.Event{ID: at(0), Type: "order.paid"}
		c := event.Candidate{Endpoint: endpoint.Endpoint{ID: at(-1), Filter: []string{"order.*"}, Status: endpoint.Enabled}, Sent: &event.Sent{Status: "delivered"}}
		if tt.event != nil {
			tt.event(&e)
		}
		if tt.c != nil {
			tt.c(&c)
		}
		require.Equal(t, tt.want, e.Explain(c, now), name)
	}
}

func unsent(c *event.Candidate) { c.Sent = nil }
