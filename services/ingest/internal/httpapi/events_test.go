package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// anybody may do everything.
type anybody struct{}

func (anybody) Authenticate(*http.Request) (auth.Principal, error) {
	return auth.Principal{Kind: auth.KindAPIKey, Tenant: tenant.ID(uuid.Max), Scopes: auth.AllTenantScopes()}, nil
}

// reader notes which types it is asked for.
type reader struct{ types []string }

func (*reader) Event(context.Context, tenant.ID, uuid.UUID) (event.Event, error) {
	return event.Event{}, nil
}

func (r *reader) List(_ context.Context, _ tenant.ID, q event.Query) ([]event.Summary, error) {
	r.types = append(r.types, q.Type)
	return nil, nil
}

// Postgres refuses some texts that a query string can hold; that would be a 500.
func TestTypeFilterOfTheList(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "ingest", LogLevel: "error"})
	require.NoError(t, err)
	api := httpapi.New(httpapi.Config{Service: "ingest", Title: "Beaconpost ingest", Authenticator: anybody{}, Telemetry: tel})
	r := &reader{}
	(&Handlers{Events: r}).registerEvents(api)
	handler, err := api.Handler()
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	c := servicetest.Client{T: t, URL: server.URL}
	for _, bad := range []string{"%00", "%ff", "order%20paid", "order.paid%00", "%25"} {
		c.Do("GET", "/v1/events?event_type="+bad, nil).WantProblem(422, "invalid_request", "event_type")
	}
	require.Empty(t, r.types)
	for _, good := range []string{"", "order.paid", "order.*", "*", "A-b_1"} {
		c.Do("GET", "/v1/events?event_type="+good, nil).Want(200, nil)
	}
	require.Equal(t, []string{"", "order.paid", "order.*", "*", "A-b_1"}, r.types)
}

func (*reader) Candidates(context.Context, tenant.ID, uuid.UUID, *uuid.UUID, int) (event.Event, []event.Candidate, error) {
	panic("not called")
}
