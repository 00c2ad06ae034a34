package ingest_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
)

func TestRetryPresets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	created := b.endpoint(c, map[string]any{"retry": map[string]any{"preset": "standard-webhooks", "max_age": "72h"}})
	require.Equal(t, "standard-webhooks", created.Retry.Preset)
	require.Equal(t, []string{"5s", "5m0s", "30m0s", "2h0m0s", "5h0m0s", "10h0m0s", "14h0m0s", "20h0m0s", "24h0m0s"}, created.Retry.Schedule)
	require.Equal(t, "72h0m0s", created.Retry.MaxAge)

	var read struct {
		Retry map[string]any `json:"retry"`
	}
	c.Do("GET", "/v1/endpoints/"+created.ID, nil).Want(200, &read)
	var again, replaced endpointView
	c.Do("PATCH", "/v1/endpoints/"+created.ID, map[string]any{"retry": read.Retry}).Want(200, &again)
	require.Equal(t, created.Retry, again.Retry, "what was read may be sent back")

	c.Do("PATCH", "/v1/endpoints/"+created.ID, `{"retry":{"preset":"exponential"}}`).Want(200, &replaced)
	require.Equal(t, "exponential", replaced.Retry.Preset)
	require.Equal(t, "1s", replaced.Retry.Base)
	require.Equal(t, 15, replaced.Retry.MaxAttempts)
	require.Empty(t, replaced.Retry.MaxAge, "the whole policy is replaced")
	c.Do("PATCH", "/v1/endpoints/"+created.ID, `{"retry":{"preset":"exponential","schedule":["1s"]}}`).WantProblem(422, "invalid_endpoint", "retry.preset")
}

func TestEndpointLifecycle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	created := b.endpoint(c, map[string]any{
		"url": "https://example.com/hooks", "description": "shop", "event_types": []string{"order.*"}, "timeout": "5s",
		"retry": map[string]any{"schedule": []string{"5s", "5m"}},
	})
	require.True(t, strings.HasPrefix(created.Secret, "whsec_"))
	require.Equal(t, "5s", created.Timeout)
	require.Equal(t, []string{"5s", "5m0s"}, created.Retry.Schedule)

	var got endpointView
	read := c.Do("GET", "/v1/endpoints/"+created.ID, nil).Want(200, &got)
	require.NotContains(t, string(read.Body), "whsec_")
	require.Equal(t, "enabled", got.Status)

	var patched endpointView
	c.Do("PATCH", "/v1/endpoints/"+created.ID, `{"url":"https://example.com/new","timeout":null,"retry":null,"event_types":null}`).Want(200, &patched)
	require.Equal(t, "https://example.com/new", patched.URL)
	require.Empty(t, patched.Timeout)
	require.Nil(t, patched.Retry)
	require.Empty(t, patched.EventTypes)

	var deleted struct {
		ID                  string
		DeliveriesCancelled int `json:"deliveries_cancelled"`
	}
	b.event(c, `{"event_type":"x","payload":1}`)
	c.Do("DELETE", "/v1/endpoints/"+created.ID, nil).Want(200, &deleted)
	require.Equal(t, 1, deleted.DeliveriesCancelled)
	require.Equal(t, []string{"cancelled endpoint_deleted"}, b.Rows(`SELECT status || ' ' || cancel_reason FROM deliveries`))
	c.Do("GET", "/v1/endpoints/"+created.ID, nil).WantProblem(404, "endpoint_not_found", "")
	c.Do("DELETE", "/v1/endpoints/"+created.ID, nil).WantProblem(404, "endpoint_not_found", "")
	c.Do("PATCH", "/v1/endpoints/"+created.ID, `{}`).WantProblem(404, "endpoint_not_found", "")
	b.event(c, `{"event_type":"x","payload":1}`)
	require.Equal(t, []string{"1"}, b.Rows(`SELECT count(*)::text FROM deliveries`))
}

func TestDisablingParksAndEnablingResumes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	e := b.endpoint(c, map[string]any{})
	b.event(c, `{"event_type":"x","payload":1}`)
	type view struct {
		Status         string
		DisabledReason string `json:"disabled_reason"`
		DisabledAt     string `json:"disabled_at"`
		Health         struct {
			Breaker          string
			Reason           string
			ParkedDeliveries int `json:"parked_deliveries"`
		}
	}
	var got view
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"status":"disabled"}`).Want(200, &got)
	require.Equal(t, "disabled requested closed", strings.Join([]string{got.Status, got.DisabledReason, got.Health.Breaker}, " "))
	require.NotEmpty(t, got.DisabledAt)
	// What is accepted meanwhile is kept, for whoever names the endpoint too.
	b.event(c, `{"event_type":"x","payload":2}`)
	b.event(c, `{"event_type":"x","payload":3,"endpoint_id":"`+e.ID+`"}`)
	require.Equal(t, []string{"2"}, b.Rows(`SELECT count(*)::text FROM deliveries WHERE status = 'pending' AND next_attempt_at = 'infinity'`))
	got = view{}
	c.Do("GET", "/v1/endpoints/"+e.ID, nil).Want(200, &got)
	require.Equal(t, 2, got.Health.ParkedDeliveries)

	got = view{}
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"status":"enabled"}`).Want(200, &got)
	require.Equal(t, view{Status: "enabled", Health: got.Health}, got)
	require.Equal(t, "draining enabled", got.Health.Breaker+" "+got.Health.Reason)
	require.Equal(t, []string{"draining enabled"}, b.Rows(`SELECT state || ' ' || reason FROM endpoint_health`))
	// New events line up behind those that wait.
	b.event(c, `{"event_type":"x","payload":4}`)
	require.Equal(t, []string{"3"}, b.Rows(`SELECT count(*)::text FROM deliveries WHERE next_attempt_at = 'infinity'`))
}

func TestRecover(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	e := b.endpoint(c, map[string]any{})
	path := "/v1/endpoints/" + e.ID + "/recover"
	b.event(c, `{"event_type":"x","payload":1}`)
	b.event(c, `{"event_type":"x","payload":2}`)
	b.Rows(`UPDATE deliveries SET status = 'exhausted', completed_at = now() RETURNING id::text`)
	time.Sleep(2 * time.Millisecond) // the range ends with a millisecond
	var got struct {
		Deliveries int
		Endpoint   struct {
			Health struct {
				Breaker    string
				Reason     string
				Recovering bool
			}
		}
	}
	c.Do("POST", path, map[string]any{"since": time.Now().Add(-time.Hour)}).Want(202, &got)
	require.Equal(t, 2, got.Deliveries)
	require.Equal(t, "draining recover", got.Endpoint.Health.Breaker+" "+got.Endpoint.Health.Reason)
	require.True(t, got.Endpoint.Health.Recovering)

	// An open breaker is not closed by it; a later request does not narrow an earlier one.
	from := b.Rows(`UPDATE endpoint_health SET state = 'open', reason = 'failures' RETURNING recover_from::text`)
	b.Rows(`UPDATE endpoints SET breaker = 'open' RETURNING id::text`)
	c.Do("POST", path, map[string]any{"since": time.Now()}).Want(202, &got)
	require.Equal(t, 0, got.Deliveries)
	require.Equal(t, "open failures", got.Endpoint.Health.Breaker+" "+got.Endpoint.Health.Reason)
	require.Equal(t, from, b.Rows(`SELECT recover_from::text FROM endpoint_health`))

	// Asked for a disabled endpoint it waits until that is enabled.
	other := b.endpoint(c, map[string]any{"status": "disabled"})
	c.Do("POST", "/v1/endpoints/"+other.ID+"/recover", map[string]any{"since": time.Now()}).Want(202, &got)
	require.Equal(t, "closed", got.Endpoint.Health.Breaker)

	c.Do("POST", path, map[string]any{"since": time.Now().Add(time.Hour)}).WantProblem(422, "invalid_recovery", "since")
	c.Do("POST", path, `{}`).WantProblem(422, "invalid_request", "since")
	c.Do("POST", path, `{"since":"0000-01-01T00:00:00+23:00"}`).WantProblem(422, "invalid_recovery", "since")
	c.Do("POST", path, `{"since":"yesterday"}`).WantProblem(422, "invalid_request", "since")
	c.Do("POST", "/v1/endpoints/"+uuid.NewString()+"/recover", map[string]any{"since": time.Now()}).WantProblem(404, "endpoint_not_found", "")
	_, foreign := b.tenant("other")
	foreign.Do("POST", path, map[string]any{"since": time.Now()}).WantProblem(404, "endpoint_not_found", "")
}

func TestBadEndpoints(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_NETWORK_ALLOW_LOOPBACK=false")
	_, c := b.tenant("acme")
	_, foreign := b.tenant("other")
	var theirs struct{ ID string }
	foreign.Do("POST", "/v1/projects", map[string]string{"name": "theirs"}).Want(201, &theirs)
	for _, tt := range []struct{ body, code, field string }{
		{`{}`, "invalid_request", "url"},
		{`{"url":"https://example.com","colour":"red"}`, "invalid_request", "colour"},
		{`{"url":7}`, "invalid_request", "url"},
		{`{"url":"ftp://example.com"}`, "invalid_endpoint", "url"},
		{`{"url":"/relative"}`, "invalid_endpoint", "url"},
		{`{"url":"https://user:pw@example.com"}`, "invalid_endpoint", "url"},
		{`{"url":"http://127.0.0.1/x"}`, "invalid_endpoint", "url"},
		{`{"url":"http://169.254.169.254/latest"}`, "invalid_endpoint", "url"},
		{`{"url":"http://2130706433/"}`, "invalid_endpoint", "url"},
		{`{"url":"http://localhost/"}`, "invalid_endpoint", "url"},
		{`{"url":"https://example.com","event_types":["a b"]}`, "invalid_endpoint", "event_types"},
		{`{"url":"https://example.com","event_types":["*.paid"]}`, "invalid_endpoint", "event_types"},
		{`{"url":"https://example.com","timeout":"10"}`, "invalid_request", "timeout"},
		{`{"url":"https://example.com","timeout":"1h"}`, "invalid_endpoint", "timeout"},
		{`{"url":"https://example.com","status":"paused"}`, "invalid_request", "status"},
		{`{"url":"https://example.com","retry":{"max_attempts":1000}}`, "invalid_request", "retry.max_attempts"},
		{`{"url":"https://example.com","retry":{"schedule":["5s"],"base":"1s"}}`, "invalid_endpoint", "retry"},
		{`{"url":"https://example.com","retry":{"preset":"linear"}}`, "invalid_request", "retry.preset"},
		{`{"url":"https://example.com","retry":{"preset":"exponential","base":"2s"}}`, "invalid_endpoint", "retry.preset"},
		{`{"url":"https://example.com","retry":{"max_age":"2161h"}}`, "invalid_endpoint", "retry"},
		{`{"url":"https://example.com","headers":{"Host":"a"}}`, "invalid_endpoint", "headers.Host"},
		{`{"url":"https://example.com","headers":{"webhook-id":"a"}}`, "invalid_endpoint", "headers.webhook-id"},
		{`{"url":"https://example.com","headers":{"X-Forwarded-For":"a"}}`, "invalid_endpoint", "headers.X-Forwarded-For"},
		{`{"url":"https://example.com","headers":{"A":"a\r\nB: c"}}`, "invalid_endpoint", "headers.A"},
		{`{"url":"https://example.com","headers":{"A B":"a"}}`, "invalid_endpoint", "headers"},
		{`{"url":"https://example.com","headers":{"A":"1","a":"2"}}`, "invalid_endpoint", "headers.a"},
		{`{"url":"https://example.com","headers":{"A":1}}`, "invalid_request", "headers.A"},
		{`{"url":"https://example.com","signature_headers":"github"}`, "invalid_request", "signature_headers"},
		{`{"url":"https://example.com","rate_limit":{"per_second":0}}`, "invalid_request", "rate_limit.per_second"},
		{`{"url":"https://example.com","rate_limit":{"burst":5}}`, "invalid_request", "rate_limit.per_second"},
		{`{"url":"https://example.com","secret":"whsec_short"}`, "invalid_endpoint", "secret"},
		{`{"url":"https://example.com","signing":"rsa"}`, "invalid_request", "signing"},
		{`{"url":"https://example.com","signing":"ed25519","SIGNING":"rsa"}`, "invalid_request", "SIGNING"},
		{`{"url":"https://example.com","rate_limit":{"per_second":2,"PER_SECOND":0}}`, "invalid_request", "rate_limit.PER_SECOND"},
		{`{"url":"https://example.com","signing":"ed25519","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}`, "invalid_endpoint", "signing"},
		{`{"url":"https://example.com","project_id":"` + uuid.NewString() + `"}`, "unknown_project", "project_id"},
		{`{"url":"https://example.com","project_id":"` + theirs.ID + `"}`, "unknown_project", "project_id"},
	} {
		c.Do("POST", "/v1/endpoints", tt.body).WantProblem(422, tt.code, tt.field)
	}
	c.Do("POST", "/v1/endpoints", `{"url":`).WantProblem(400, "malformed_request", "")
	require.Equal(t, []string{"0"}, b.Rows(`SELECT count(*)::text FROM endpoints`))

	e := b.endpoint(c, map[string]any{})
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"status":"paused"}`).WantProblem(422, "invalid_endpoint", "status")
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"url":null}`).WantProblem(422, "invalid_endpoint", "url")
}

// An endpoint that was made before the installation became stricter can be described and disabled, but not given such a URL again.
func TestHTTPSOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	const before = "http://example.com/webhooks"
	e := b.endpoint(c, map[string]any{"url": before})
	b.start("BEACONPOST_NETWORK_HTTPS_ONLY=true")
	c = b.client(b.Token(id))

	c.Do("POST", "/v1/endpoints", `{"url":"http://example.com"}`).WantProblem(422, "invalid_endpoint", "url")
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"url":"http://example.com/other"}`).WantProblem(422, "invalid_endpoint", "url")
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"url":"`+before+`"}`).WantProblem(422, "invalid_endpoint", "url")
	var got endpointView
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"description":"old","status":"disabled"}`).Want(200, &got)
	require.Equal(t, []string{before, "disabled"}, []string{got.URL, got.Status})
	c.Do("PATCH", "/v1/endpoints/"+e.ID, `{"url":"https://example.com/webhooks","status":"enabled"}`).Want(200, &got)
	require.Equal(t, "https://example.com/webhooks", got.URL)
	b.endpoint(c, map[string]any{"url": "https://example.com"})
}

func TestSecretsAreSealedRevealedAndRotated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	e := b.endpoint(c, map[string]any{})
	type secrets struct {
		Secret  string
		Secrets []struct {
			Secret    string
			ExpiresAt *time.Time `json:"expires_at"`
		}
	}
	var s secrets
	c.Do("GET", "/v1/endpoints/"+e.ID+"/secret", nil).Want(200, &s)
	require.Equal(t, e.Secret, s.Secret)

	var rotated struct{ Secret string }
	c.Do("POST", "/v1/endpoints/"+e.ID+"/secret/rotate", nil).Want(200, &rotated)
	require.NotEqual(t, e.Secret, rotated.Secret)
	c.Do("GET", "/v1/endpoints/"+e.ID+"/secret", nil).Want(200, &s)
	require.Equal(t, rotated.Secret, s.Secret)
	require.Len(t, s.Secrets, 2)
	require.Equal(t, e.Secret, s.Secrets[1].Secret)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), *s.Secrets[1].ExpiresAt, time.Minute)

	c.Do("POST", "/v1/endpoints/"+e.ID+"/secret/rotate", `{"overlap":"0s"}`).Want(200, nil)
	c.Do("GET", "/v1/endpoints/"+e.ID+"/secret", nil).Want(200, &s)
	require.Len(t, s.Secrets, 1, "an overlap of nothing ends all that there were")
	c.Do("POST", "/v1/endpoints/"+e.ID+"/secret/rotate", `{"overlap":"1000h"}`).WantProblem(422, "invalid_overlap", "overlap")

	for _, column := range b.Rows(`SELECT encode(ciphertext, 'escape') FROM endpoint_secrets`) {
		require.NotContains(t, column, "whsec_")
	}
	b.client(b.Token(id, auth.ScopeEndpointsRead)).Do("GET", "/v1/endpoints/"+e.ID+"/secret", nil).WantProblem(403, "insufficient_scope", "")
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_API_KEY_CACHE_TTL=1h")
	id, c := b.tenant("acme")
	type keyView struct {
		ID, Key, Prefix string
		Scopes          []string
		RevokedAt       *time.Time `json:"revoked_at"`
	}
	var key keyView
	c.Do("POST", "/v1/api-keys", map[string]any{"name": "producer", "scopes": []string{"events:write"}}).Want(201, &key)
	require.True(t, strings.HasPrefix(key.Key, "bp_"))
	producer := b.client(key.Key)
	b.event(producer, `{"event_type":"x","payload":1}`)
	producer.Do("GET", "/v1/events", nil).WantProblem(403, "insufficient_scope", "")
	require.Empty(t, b.Rows(`SELECT encode(key_hash, 'escape') FROM api_keys WHERE encode(key_hash, 'escape') LIKE '%bp_%'`))

	// Nobody gives away what they do not have.
	maker := b.client(b.Token(id, auth.ScopeAPIKeysWrite))
	maker.Do("POST", "/v1/api-keys", map[string]any{"name": "x", "scopes": []string{"events:write"}}).WantProblem(403, "insufficient_scope", "scopes.0")
	c.Do("POST", "/v1/api-keys", map[string]any{"name": "x", "scopes": []string{"operator"}}).WantProblem(422, "unknown_scope", "scopes.0")
	c.Do("POST", "/v1/api-keys", map[string]any{"name": " "}).WantProblem(422, "invalid_name", "name")
	c.Do("POST", "/v1/api-keys", map[string]any{"name": "x", "expires_at": "2020-01-01T00:00:00Z"}).WantProblem(422, "invalid_expiry", "expires_at")

	c.Do("DELETE", "/v1/api-keys/"+key.ID, nil).Want(204, nil)
	producer.Do("POST", "/v1/events", `{"event_type":"x","payload":1}`).WantProblem(401, "invalid_credentials", "")
	c.Do("DELETE", "/v1/api-keys/"+uuid.NewString(), nil).WantProblem(404, "api_key_not_found", "")
	var list struct{ Data []keyView }
	listed := c.Do("GET", "/v1/api-keys", nil).Want(200, &list)
	require.Len(t, list.Data, 2)
	require.NotNil(t, list.Data[0].RevokedAt)
	require.NotContains(t, string(listed.Body), key.Key)
}

func TestTenantsAndProjects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, c := b.tenant("acme")
	b.tenant("other")
	var got tenantView
	b.operator.Do("GET", "/v1/tenants/"+id.String(), nil).Want(200, &got)
	require.Equal(t, "acme", got.Name)
	var list struct{ Data []tenantView }
	b.operator.Do("GET", "/v1/tenants", nil).Want(200, &list)
	require.Len(t, list.Data, 2)
	b.operator.Do("POST", "/v1/tenants", `{"name":""}`).WantProblem(422, "invalid_name", "name")
	b.operator.Do("GET", "/v1/tenants/"+uuid.NewString(), nil).WantProblem(404, "tenant_not_found", "")

	c.Do("POST", "/v1/projects", `{"name":"shop"}`).Want(201, nil)
	c.Do("POST", "/v1/projects", `{"name":"shop"}`).WantProblem(409, "project_exists", "name")
	c.Do("GET", "/v1/projects", nil).Want(200, &list)
	require.Len(t, list.Data, 1)
}

func TestTextThatPostgresCannotHoldIsTheCallersFault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	c.Do("POST", "/v1/endpoints", `{"url":"https://example.com","description":"a\u0000b"}`).WantProblem(422, "invalid_endpoint", "description")
	c.Do("POST", "/v1/projects", `{"name":"a\u0000b"}`).WantProblem(422, "invalid_name", "name")
	c.Do("POST", "/v1/events", `{"event_type":"a\u0000b","payload":1}`).WantProblem(422, "invalid_event_type", "event_type")
	id := b.event(c, `{"event_type":"x","payload":"a\u0000b"}`)
	require.Equal(t, `"a\u0000b"`, string(c.Do("GET", "/v1/events/"+id+"/payload", nil).Want(200, nil).Body))
}

func TestEndpointOptions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	type view struct {
		ID               string
		Headers          map[string]string
		SignatureHeaders string `json:"signature_headers"`
		RateLimit        *struct {
			PerSecond float64 `json:"per_second"`
			Burst     int
		} `json:"rate_limit"`
	}
	var got view
	c.Do("POST", "/v1/endpoints", `{"url":"https://example.com","headers":{"X-Shop":"acme","authorization":"Bearer x"},"signature_headers":"both","rate_limit":{"per_second":2.5}}`).Want(201, &got)
	check := func() {
		t.Helper()
		require.Equal(t, map[string]string{"X-Shop": "acme", "authorization": "Bearer x"}, got.Headers)
		require.Equal(t, "both", got.SignatureHeaders)
		require.InDelta(t, 2.5, got.RateLimit.PerSecond, 0)
		require.Equal(t, 3, got.RateLimit.Burst)
	}
	check()
	path := "/v1/endpoints/" + got.ID
	c.Do("PATCH", path, `{"description":"changes nothing of it"}`).Want(200, &got)
	check()
	got = view{}
	c.Do("PATCH", path, `{"headers":{"a":"b"},"signature_headers":"svix","rate_limit":null}`).Want(200, &got)
	require.Equal(t, map[string]string{"a": "b"}, got.Headers)
	require.Equal(t, "svix", got.SignatureHeaders)
	require.Nil(t, got.RateLimit)
	c.Do("PATCH", path, `{"signature_headers":"none"}`).WantProblem(422, "invalid_endpoint", "signature_headers")
	c.Do("PATCH", path, `{"rate_limit":{"per_second":5,"burst":0}}`).WantProblem(422, "invalid_request", "rate_limit.burst")
	got = view{}
	c.Do("PATCH", path, `{"headers":null}`).Want(200, &got)
	require.Empty(t, got.Headers)
}

func TestSecretsOfOnesOwnAndPublicKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	type view struct {
		ID        string
		Secret    string
		PublicKey string `json:"public_key"`
	}
	const own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	var brought view
	c.Do("POST", "/v1/endpoints", map[string]any{"url": "https://example.com", "secret": own}).Want(201, &brought)
	require.Equal(t, own, brought.Secret)

	var asymmetric view
	c.Do("POST", "/v1/endpoints", map[string]any{"url": "https://example.com", "signing": "ed25519"}).Want(201, &asymmetric)
	require.Empty(t, asymmetric.Secret, "who verifies needs no private key")
	require.True(t, strings.HasPrefix(asymmetric.PublicKey, "whpk_"))
	revealed := c.Do("GET", "/v1/endpoints/"+asymmetric.ID+"/secret", nil).Want(200, nil)
	require.NotContains(t, string(revealed.Body), "whsk_")

	// Anybody may read public keys, without a credential, while they are used.
	type keys struct {
		Keys []struct {
			Kty, Crv, Kid, X string
			PublicKey        string `json:"public_key"`
		}
	}
	anybody := c
	anybody.Token = ""
	var set keys
	anybody.Do("GET", "/v1/public-keys/"+asymmetric.ID, nil).Want(200, &set)
	require.Len(t, set.Keys, 1)
	require.Equal(t, asymmetric.PublicKey, set.Keys[0].PublicKey)
	raw, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	require.NoError(t, err)
	require.Equal(t, asymmetric.PublicKey, "whpk_"+base64.StdEncoding.EncodeToString(raw))

	var rotated view
	c.Do("POST", "/v1/endpoints/"+asymmetric.ID+"/secret/rotate", map[string]any{"signing": "ed25519"}).Want(200, &rotated)
	set = keys{}
	anybody.Do("GET", "/v1/public-keys/"+asymmetric.ID, nil).Want(200, &set)
	require.Len(t, set.Keys, 2)
	require.Equal(t, []string{rotated.PublicKey, asymmetric.PublicKey}, []string{set.Keys[0].PublicKey, set.Keys[1].PublicKey}, "both for the overlap, the current one first")
	c.Do("POST", "/v1/endpoints/"+asymmetric.ID+"/secret/rotate", map[string]any{"secret": own, "overlap": "0s"}).Want(200, &rotated)
	require.Equal(t, own, rotated.Secret)
	c.Do("POST", "/v1/endpoints/"+asymmetric.ID+"/secret/rotate", map[string]any{"secret": "whsec_"}).WantProblem(422, "invalid_secret", "secret")
	for _, id := range []string{brought.ID, uuid.NewString()} {
		set = keys{}
		anybody.Do("GET", "/v1/public-keys/"+id, nil).Want(200, &set)
		require.Empty(t, set.Keys)
	}
}

// However often it is rotated, a webhook carries three signatures at most, and a key that leaked can be ended at once.
func TestRotationsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	e := b.endpoint(c, map[string]any{"signing": "ed25519"})
	count := func() int {
		var set struct{ Keys []any }
		c.Do("GET", "/v1/public-keys/"+e.ID, nil).Want(200, &set)
		return len(set.Keys)
	}
	rotate := "/v1/endpoints/" + e.ID + "/secret/rotate"
	for range 5 {
		c.Do("POST", rotate, map[string]any{"signing": "ed25519", "overlap": "168h"}).Want(200, nil)
	}
	require.Equal(t, 3, count())
	c.Do("POST", rotate, map[string]any{"signing": "ed25519", "overlap": "0s"}).Want(200, nil)
	require.Equal(t, 1, count(), "none of those before")
	c.Do("DELETE", "/v1/endpoints/"+e.ID, nil).Want(200, nil)
	require.Zero(t, count())
}
