package beaconpost_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
)

func TestATestOfAnEndpoint(t *testing.T) {
	t.Parallel()
	_, environ := servers(t)
	sys := up(t, t.TempDir(), environ)
	c := servicetest.Client{T: t, URL: sys.URL, Token: sys.APIKey}
	type request struct {
		header http.Header
		body   []byte
	}
	got := make(chan request, 1)
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Header.Clone(), body}
		time.Sleep(20 * time.Millisecond)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short and stout")
	}))
	t.Cleanup(sink.Close)
	var endpoint struct{ ID, Secret string }
	c.Do("POST", "/v1/endpoints", map[string]any{"url": sink.URL, "status": "disabled"}).Want(201, &endpoint)
	path := "/v1/endpoints/" + endpoint.ID + "/test"

	var answer struct {
		EventID         string `json:"event_id"`
		Delivered       bool
		StatusCode      int    `json:"status_code"`
		ErrorClass      string `json:"error_class"`
		ResponseExcerpt string `json:"response_excerpt"`
		Duration        string
		Phases          map[string]string
	}
	c.Do("POST", path, `{"event_type":"order.paid","payload":{"a":  1.0}}`).Want(200, &answer)
	require.False(t, answer.Delivered)
	require.Equal(t, http.StatusTeapot, answer.StatusCode)
	require.Equal(t, "short and stout", answer.ResponseExcerpt)
	for _, phase := range []string{"connect", "send", "wait", "receive"} {
		took, err := time.ParseDuration(answer.Phases[phase])
		require.NoError(t, err, phase)
		require.Positive(t, took, phase)
		if phase == "wait" {
			require.GreaterOrEqual(t, took, 19*time.Millisecond)
		}
	}
	require.NotContains(t, answer.Phases, "handshake", "there was no TLS")
	sent := <-got
	require.Equal(t, `{"a":  1.0}`, string(sent.body), "byte for byte")
	require.Equal(t, answer.EventID, sent.header.Get("Webhook-Id"))
	require.Equal(t, "order.paid", sent.header.Get("Beaconpost-Event-Type"))
	receiver, err := standardwebhooks.NewWebhook(endpoint.Secret)
	require.NoError(t, err)
	require.NoError(t, receiver.Verify(sent.body, sent.header))

	c.Do("POST", path, nil).Want(200, &answer)
	require.Contains(t, string((<-got).body), `"test":true`)
	// Nothing is stored and nothing counts.
	var events struct{ Data []any }
	c.Do("GET", "/v1/events", nil).Want(200, &events)
	require.Empty(t, events.Data)

	c.Do("POST", path, `{"event_type":"a b"}`).WantProblem(422, "invalid_event_type", "event_type")
	c.Do("POST", path, `{"colour":1}`).WantProblem(422, "invalid_request", "colour")
	c.Do("POST", "/v1/endpoints/"+uuid.NewString()+"/test", nil).WantProblem(404, "endpoint_not_found", "")
	sink.Close()
	answer.StatusCode = 0
	c.Do("POST", path, nil).Want(200, &answer)
	require.Zero(t, answer.StatusCode)
	require.Equal(t, "connect", answer.ErrorClass)
	sys.stop()
}
