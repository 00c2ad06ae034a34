package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 7 * 24 * time.Hour
)

type secretView struct {
	Secret    string     `json:"secret" doc:"whsec_…"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"Absent: the current secret."`
}

type secretsView struct {
	EndpointID uuid.UUID    `json:"endpoint_id"`
	Secret     string       `json:"secret" doc:"The current secret."`
	Secrets    []secretView `json:"secrets" nullable:"false" doc:"All secrets that deliveries are signed with now, the current one first."`
}

// rotatedView shows the new secret only: who may rotate need not be allowed to see the old one.
type rotatedView struct {
	EndpointID      uuid.UUID `json:"endpoint_id"`
	Secret          string    `json:"secret" doc:"The new secret."`
	PreviousExpires time.Time `json:"previous_expires_at" doc:"Until then deliveries carry the old secret's signature too."`
}

type rotateInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body *struct {
		Overlap *httpapi.Duration `json:"overlap,omitempty" doc:"How long the old secret's signature is sent beside the new one's; 24h unless given, at most 168h."`
	} `required:"false"`
}

func (h *Handlers) registerSecrets(api *httpapi.API) {
	httpapi.Register(api, httpapi.Route{
		Method: get, Path: "/v1/endpoints/{id}/secret", ID: "reveal-secret", Summary: "Reveal an endpoint's signing secrets", Tag: "endpoints", Scope: auth.ScopeSecretsRead,
	}, h.revealSecret)
	httpapi.Register(api, httpapi.Route{
		Method: post, Path: "/v1/endpoints/{id}/secret/rotate", ID: "rotate-secret", Summary: "Give an endpoint a new signing secret", Tag: "endpoints", Scope: auth.ScopeEndpointsWrite,
		Doc: "Returns the new secret. For the overlap, deliveries carry both signatures.",
	}, h.rotateSecret)
}

func (h *Handlers) revealSecret(ctx context.Context, in *idPath) (*struct{ Body secretsView }, error) {
	t := httpapi.Tenant(ctx)
	secrets, err := h.Endpoints.Secrets(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	view := secretsView{EndpointID: in.ID, Secrets: []secretView{}}
	for _, s := range secrets {
		view.Secrets = append(view.Secrets, viewSecret(s))
	}
	if len(secrets) > 0 {
		view.Secret = view.Secrets[0].Secret
	}
	return &struct{ Body secretsView }{view}, nil
}

func viewSecret(s endpoint.Secret) secretView {
	v := secretView{Secret: s.Value.Reveal(), CreatedAt: s.CreatedAt.UTC()}
	if !s.ExpiresAt.IsZero() {
		at := s.ExpiresAt.UTC()
		v.ExpiresAt = &at
	}
	return v
}

func (h *Handlers) rotateSecret(ctx context.Context, in *rotateInput) (*struct{ Body rotatedView }, error) {
	t := httpapi.Tenant(ctx)
	overlap := defaultOverlap
	if in.Body != nil && in.Body.Overlap != nil {
		overlap = time.Duration(*in.Body.Overlap)
	}
	if overlap > maxOverlap {
		return nil, fault.Invalid("invalid_overlap", "overlap", "Expected at most "+maxOverlap.String()+".")
	}
	secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	if err := h.Endpoints.Rotate(ctx, t, in.ID, secret, overlap); err != nil {
		return nil, err
	}
	return &struct{ Body rotatedView }{rotatedView{in.ID, secret.Value.Reveal(), time.Now().Add(overlap).UTC()}}, nil
}
