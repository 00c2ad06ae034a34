package listen

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

// endpoint is what the API answers when one was created.
type endpoint struct {
	ID     string `json:"id"`
	URL    string `json:"url"`
	Secret string `json:"secret"`
}

type createEndpoint struct {
	URL         string   `json:"url"`
	Description string   `json:"description"`
	EventTypes  []string `json:"event_types,omitempty"`
}

// createEndpoint is not ended by ctx: an endpoint whose id is not known could not be deleted.
func (s settings) createEndpoint(ctx context.Context, target string) (endpoint, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiLimit)
	defer cancel()
	var e endpoint
	body := createEndpoint{URL: target, Description: "beaconpost listen", EventTypes: s.eventTypes}
	if err := s.client.Do(ctx, http.MethodPost, "/v1/endpoints", body, &e); err != nil {
		return e, fmt.Errorf("create endpoint: %w", err)
	}
	fmt.Fprintf(s.notes, "Created endpoint %s at %s; it is deleted on exit (Ctrl-C)\n", e.ID, s.client.URL)
	return e, nil
}

func (s settings) deleteEndpoint(ctx context.Context, e endpoint) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiLimit)
	defer cancel()
	var deleted struct {
		Cancelled int64 `json:"deliveries_cancelled"`
	}
	err := s.client.Do(ctx, http.MethodDelete, "/v1/endpoints/"+e.ID, nil, &deleted)
	if p, ok := errors.AsType[*demo.Problem](err); ok && p.Status == http.StatusNotFound {
		fmt.Fprintf(s.notes, "Endpoint %s was deleted already\n", e.ID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete endpoint %s (it is left behind): %w", e.ID, err)
	}
	fmt.Fprintf(s.notes, "Deleted endpoint %s; pending deliveries cancelled: %d\n", e.ID, deleted.Cancelled)
	return nil
}
