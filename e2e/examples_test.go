package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const examplesFile = "js/node_modules/@octokit/webhooks-examples/api.github.com/index.json"

// example is a payload that GitHub sends, as bytes of the package's file.
type example struct {
	eventType string
	payload   json.RawMessage
}

func examples(t *testing.T) []example {
	t.Helper()
	raw, err := os.ReadFile(examplesFile)
	require.NoError(t, err)
	var groups []struct {
		Name     string            `json:"name"`
		Examples []json.RawMessage `json:"examples"`
	}
	require.NoError(t, json.Unmarshal(raw, &groups))
	var all []example
	for _, g := range groups {
		for _, payload := range g.Examples {
			all = append(all, example{"github." + g.Name, payload})
		}
	}
	require.Greater(t, len(all), 300)
	return all
}

// Hundreds of real payloads arrive byte for byte and pass the official verifiers, in Go when they arrive and in JavaScript after.
func TestGitHubsPayloadsArriveIdenticalAndVerified(t *testing.T) {
	t.Parallel()
	s := startSystem(t, 1)
	e := s.receive(nil, map[string]any{"event_types": []string{"github.*"}})
	s.receive(func(http.ResponseWriter, *http.Request) { t.Error("a filtered event arrived") }, map[string]any{"event_types": []string{"gitlab.*"}})
	sent := map[string]example{}
	for i, ex := range examples(t) {
		body := append([]byte(`{"event_type":"`+ex.eventType+`","payload":`), ex.payload...)
		status, answer, err := s.Post(t.Context(), s.APIKey, "POST", "/v1/events", append(body, '}'), fmt.Sprint("example-", i))
		require.NoError(t, err)
		require.Equalf(t, http.StatusAccepted, status, "%s: %s", ex.eventType, answer)
		var accepted struct{ ID string }
		require.NoError(t, json.Unmarshal(answer, &accepted))
		sent[accepted.ID] = ex
	}
	s.settled(30 * time.Second)
	e.mu.Lock()
	defer e.mu.Unlock()
	require.Empty(t, e.bad)
	require.Len(t, e.bodies, len(sent))
	for id, ex := range sent {
		require.Equal(t, 1, e.got[id])
		require.Truef(t, bytes.Equal(ex.payload, e.bodies[id]), "%s (%s) differs", id, ex.eventType)
		require.Equal(t, ex.eventType, e.heads[id].Get("Beaconpost-Event-Type"))
	}
	t.Logf("%d payloads arrived byte for byte", len(sent))
	verifyInJavaScript(t, e)
}

// verifyInJavaScript gives every request to the official JavaScript library, and a forged one, which it must refuse.
func verifyInJavaScript(t *testing.T, e *endpoint) {
	t.Helper()
	var input bytes.Buffer
	encoder := json.NewEncoder(&input)
	line := func(id string, body []byte) {
		headers := map[string]string{}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			headers[name] = e.heads[id].Get(name)
		}
		require.NoError(t, encoder.Encode(map[string]any{"secret": e.secret, "headers": headers, "body": base64.StdEncoding.EncodeToString(body)}))
	}
	last := ""
	for id, body := range e.bodies {
		line(id, body)
		last = id
	}
	line(last, []byte(`{"forged":true}`))
	cmd := exec.CommandContext(t.Context(), "node", "verify.mjs")
	cmd.Dir, cmd.Stdin = "js", &input
	out, err := cmd.Output()
	require.NoError(t, err)
	var verdicts []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		verdicts = append(verdicts, lines.Text())
	}
	require.Len(t, verdicts, len(e.bodies)+1)
	for _, verdict := range verdicts[:len(e.bodies)] {
		require.Equal(t, "ok", verdict)
	}
	require.NotEqual(t, "ok", verdicts[len(e.bodies)])
}
