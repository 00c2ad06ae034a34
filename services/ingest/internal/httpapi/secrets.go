package httpapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 7 * 24 * time.Hour
)

// SecretChoice is how a client says which secret an endpoint signs with. It is exported so that the framework describes what embeds it.
type SecretChoice struct {
	Secret  string `json:"secret,omitempty" maxLength:"200" doc:"Bring your own: whsec_ and base64 of 24 to 64 bytes, or whsk_ and an ed25519 private key. One is made unless given."`
	Signing string `json:"signing,omitempty" enum:"hmac-sha256,ed25519" doc:"hmac-sha256 (signatures v1, a shared secret) or ed25519 (v1a, verified by a public key). hmac-sha256 unless given."`
}

// choose reads or makes the secret. code is that of the fault if it cannot be used.
func (c SecretChoice) choose(code fault.Code) (endpoint.Secret, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return endpoint.Secret{}, fmt.Errorf("make secret id: %w", err)
	}
	s := endpoint.Secret{ID: id}
	switch {
	case c.Secret != "":
		if s.Value, err = signature.ParseSecret(c.Secret); err != nil {
			return s, fault.Invalid(code, "secret", "Expected whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an ed25519 private key.")
		}
		if private := s.Value.Public() != nil; c.Signing != "" && private != (c.Signing == signingEd25519) {
			return s, fault.Invalid(code, "signing", "Expected the kind of the secret that is given, or none.")
		}
	case c.Signing == signingEd25519:
		s.Value = signature.NewPrivate()
	default:
		s.Value = signature.NewSecret()
	}
	return s, nil
}

const signingEd25519 = "ed25519"

// revealed gives what a receiver needs: the shared secret, or the public key of one that is not shared.
func revealed(s signature.Secret) (shared, public string) {
	if key := s.Public(); key != nil {
		return "", signature.FormatPublic(key)
	}
	return s.Reveal(), ""
}

type secretView struct {
	Secret    string     `json:"secret,omitempty" doc:"whsec_…; absent for ed25519."`
	PublicKey string     `json:"public_key,omitempty" doc:"whpk_…"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"Absent: the current secret."`
}

type secretsView struct {
	EndpointID uuid.UUID    `json:"endpoint_id"`
	Secret     string       `json:"secret,omitempty" doc:"The current secret."`
	PublicKey  string       `json:"public_key,omitempty" doc:"The current public key."`
	Secrets    []secretView `json:"secrets" nullable:"false" doc:"All secrets that deliveries are signed with now, the current one first."`
}

// rotatedView shows the new secret only: who may rotate need not be allowed to see the old one.
type rotatedView struct {
	EndpointID      uuid.UUID `json:"endpoint_id"`
	Secret          string    `json:"secret,omitempty" doc:"The new secret."`
	PublicKey       string    `json:"public_key,omitempty" doc:"The new public key."`
	PreviousExpires time.Time `json:"previous_expires_at" doc:"Until then deliveries carry the old secret's signature too."`
}

type rotateInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body *struct {
		Overlap *httpapi.Duration `json:"overlap,omitempty" doc:"How long the old secret's signature is sent beside the new one's; 24h unless given, at most 168h."`
		SecretChoice
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
	httpapi.Register(api, httpapi.Route{
		Method: get, Path: "/v1/public-keys/{id}", ID: "public-keys", Summary: "Public keys of an endpoint that signs with ed25519", Tag: "endpoints", Public: true,
		Doc: "For whoever verifies its webhooks: no credential is needed. Of an endpoint that does not exist, or that signs with a shared secret, there are none.",
	}, h.publicKeys)
}

// publicKeys is a JSON Web Key Set (RFC 7517) of ed25519 keys (RFC 8037), each with its Standard Webhooks form.
type publicKeys struct {
	Keys []publicKey `json:"keys" nullable:"false"`
}

type publicKey struct {
	Type      string    `json:"kty" enum:"OKP"`
	Curve     string    `json:"crv" enum:"Ed25519"`
	Algorithm string    `json:"alg" enum:"EdDSA"`
	Use       string    `json:"use" enum:"sig"`
	ID        uuid.UUID `json:"kid"`
	X         string    `json:"x" doc:"base64url of the 32 bytes."`
	PublicKey string    `json:"public_key" doc:"whpk_…"`
}

type publicKeysOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         publicKeys
}

func (h *Handlers) publicKeys(ctx context.Context, in *idPath) (*publicKeysOutput, error) {
	keys, err := h.Endpoints.PublicKeys(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &publicKeysOutput{CacheControl: "public, max-age=60", Body: publicKeys{Keys: []publicKey{}}}
	for _, k := range keys {
		out.Body.Keys = append(out.Body.Keys, publicKey{
			"OKP", "Ed25519", "EdDSA", "sig", k.ID, base64.RawURLEncoding.EncodeToString(k.Key), signature.FormatPublic(k.Key),
		})
	}
	return out, nil
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
		view.Secret, view.PublicKey = view.Secrets[0].Secret, view.Secrets[0].PublicKey
	}
	return &struct{ Body secretsView }{view}, nil
}

func viewSecret(s endpoint.Secret) secretView {
	v := secretView{CreatedAt: s.CreatedAt.UTC()}
	v.Secret, v.PublicKey = revealed(s.Value)
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
	var choice SecretChoice
	if in.Body != nil {
		choice = in.Body.SecretChoice
	}
	secret, err := choice.choose("invalid_secret")
	if err != nil {
		return nil, err
	}
	if err := h.Endpoints.Rotate(ctx, t, in.ID, secret, overlap); err != nil {
		return nil, err
	}
	shared, public := revealed(secret.Value)
	return &struct{ Body rotatedView }{rotatedView{in.ID, shared, public, time.Now().Add(overlap).UTC()}}, nil
}
