package event_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

func TestRouting(t *testing.T) {
	t.Parallel()
	shop, staging, unknown := uuid.New(), uuid.New(), uuid.New()
	var names []string
	byName := map[string]uuid.UUID{}
	routes := &event.Routes{Projects: map[uuid.UUID]bool{shop: true, staging: true}}
	add := func(name string, parked bool, project *uuid.UUID, filter ...string) {
		id := uuid.New()
		names = append(names, name)
		byName[name] = id
		routes.Endpoints = append(routes.Endpoints, endpoint.Route{ID: id, ProjectID: project, Filter: filter, Parked: parked})
	}
	add("all", false, nil)
	add("orders", false, nil, "order.*")
	add("paid", false, nil, "order.paid", "invoice.paid")
	add("parked", true, nil, "parked.*")
	add("shop", false, &shop)
	add("shop's orders", false, &shop, "order.*")
	add("staging", false, &staging)

	for name, tt := range map[string]struct {
		eventType string
		project   *uuid.UUID
		endpoint  string
		want      []string
		code      string
		field     string
		kind      fault.Kind
	}{
		"to all that match": {eventType: "order.paid", want: []string{"all", "orders", "paid"}},
		"exact":             {eventType: "invoice.paid", want: []string{"all", "paid"}},
		"prefix":            {eventType: "order.item.added", want: []string{"all", "orders"}},
		"no filter only":    {eventType: "user.created", want: []string{"all"}},
		"in a project: its own and those of no project": {eventType: "order.paid", project: &shop, want: []string{"all", "orders", "paid", "shop", "shop's orders"}},
		"in another project":                            {eventType: "user.created", project: &staging, want: []string{"all", "staging"}},
		"unknown project":                               {eventType: "order.paid", project: &unknown, code: "unknown_project", field: "project_id", kind: fault.KindInvalid},
		"named":                                         {eventType: "order.paid", endpoint: "all", want: []string{"all"}},
		"named, whatever its filter":                    {eventType: "user.created", endpoint: "paid", want: []string{"paid"}},
		"named, of no project, event of one":            {eventType: "a", endpoint: "all", project: &shop, want: []string{"all"}},
		"named, of its project":                         {eventType: "a", endpoint: "shop", project: &shop, want: []string{"shop"}},
		"named, of a project, event of none":            {eventType: "a", endpoint: "shop", code: "project_mismatch", field: "project_id", kind: fault.KindInvalid},
		"named, of another project":                     {eventType: "a", endpoint: "shop", project: &staging, code: "project_mismatch", field: "project_id", kind: fault.KindInvalid},
		"parked":                                        {eventType: "parked.a", want: []string{"all", "parked"}},
		"named, parked":                                 {eventType: "a", endpoint: "parked", want: []string{"parked"}},
		"named, unknown":                                {eventType: "a", endpoint: "nobody", code: "unknown_endpoint", field: "endpoint_id", kind: fault.KindInvalid},
		"named, unknown project":                        {eventType: "a", endpoint: "all", project: &unknown, code: "unknown_project", field: "project_id", kind: fault.KindInvalid},
	} {
		s := submission(tt.eventType)
		s.Event.ID, s.Event.ProjectID, s.Traceparent = uuid.Must(uuid.NewV7()), tt.project, "trace"
		if tt.endpoint != "" {
			id, known := byName[tt.endpoint]
			if !known {
				id = unknown
			}
			s.Event.EndpointID = &id
		}
		now := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.FixedZone("", 3600))
		got, err := routes.Deliveries(s, now)
		if tt.code != "" {
			require.Equal(t, tt.code, string(fault.CodeOf(err)), name)
			require.Equal(t, tt.field, fault.From(err).Field, name)
			require.Equal(t, tt.kind, fault.KindOf(err), name)
			require.Empty(t, got, name)
			continue
		}
		require.NoError(t, err, name)
		var targets []string
		ids := map[uuid.UUID]bool{}
		for _, d := range got {
			for _, n := range names {
				if byName[n] == d.EndpointID {
					targets = append(targets, n)
				}
			}
			ids[d.ID] = true
			due := time.Date(2026, 11, 23, 11, 0, 0, 123456000, time.UTC) // as Postgres keeps it
			if d.EndpointID == byName["parked"] {
				due = time.Time{}
			}
			require.Equal(t, event.Delivery{
				Tenant: s.Tenant, ID: d.ID, EventID: s.Event.ID, EndpointID: d.EndpointID, Traceparent: "trace",
				DueAt: due,
			}, d)
			require.Equal(t, uuid7.Time(s.Event.ID), uuid7.Time(d.ID), "the deliveries of an event are a key range")
		}
		require.Equal(t, tt.want, targets, name)
		require.Len(t, ids, len(got))
	}
}

func TestATenantWithoutEndpoints(t *testing.T) {
	t.Parallel()
	s := submission("order.paid")
	s.Event.ID = uuid.Must(uuid.NewV7())
	got, err := (&event.Routes{}).Deliveries(s, time.Now())
	require.NoError(t, err, "an event may have nowhere to go")
	require.Empty(t, got)
}
