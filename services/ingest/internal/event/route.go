package event

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

// Routes is what routing needs to know of a tenant. It is read-only once made.
type Routes struct {
	Version   int64 // the tenant's routing_version that it was read at
	Endpoints []endpoint.Route
	Projects  map[uuid.UUID]bool
}

// Deliveries decides where s goes: one delivery per endpoint, due at once, or parked if the endpoint is disabled or in trouble. Naming an endpoint or
// project that does not exist or cannot be used is a fault. s.Event.ID must be set.
func (r *Routes) Deliveries(s Submission, now time.Time) ([]Delivery, error) {
	if s.Event.ProjectID != nil && !r.Projects[*s.Event.ProjectID] {
		return nil, fault.Invalid("unknown_project", "project_id", "There is no project with this id.")
	}
	if s.Event.EndpointID != nil {
		target, err := r.named(*s.Event.EndpointID, s.Event.ProjectID)
		if err != nil {
			return nil, err
		}
		return []Delivery{newDelivery(s, target, now)}, nil
	}
	var deliveries []Delivery
	for i := range r.Endpoints {
		if ep := &r.Endpoints[i]; inProject(ep.ProjectID, s.Event.ProjectID) && ep.Filter.Matches(s.Event.Type) {
			deliveries = append(deliveries, newDelivery(s, ep, now))
		}
	}
	return deliveries, nil
}

func (r *Routes) named(id uuid.UUID, project *uuid.UUID) (*endpoint.Route, error) {
	i := slices.IndexFunc(r.Endpoints, func(ep endpoint.Route) bool { return ep.ID == id })
	if i < 0 {
		return nil, fault.Invalid("unknown_endpoint", "endpoint_id", "There is no endpoint with this id.")
	}
	if !inProject(r.Endpoints[i].ProjectID, project) {
		return nil, fault.Invalid("project_mismatch", "project_id", "The endpoint belongs to another project; give its project_id.")
	}
	return &r.Endpoints[i], nil
}

// inProject says whether an endpoint of project `of` (nil: of none) receives events of project.
func inProject(of, project *uuid.UUID) bool {
	return of == nil || project != nil && *of == *project
}

func newDelivery(s Submission, to *endpoint.Route, now time.Time) Delivery {
	d := Delivery{
		// In the event's millisecond, so that the deliveries of an event are a key range.
		Tenant: s.Tenant, ID: uuid7.Beside(s.Event.ID), EventID: s.Event.ID, EndpointID: to.ID,
		DueAt:       now.UTC().Truncate(time.Microsecond), // Postgres keeps microseconds; the message must say the same
		Traceparent: s.Traceparent,
	}
	if to.Parked {
		d.DueAt = time.Time{}
	}
	return d
}
