package listen

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func record() Record {
	return Record{
		Time: time.Date(2026, 3, 1, 12, 4, 5, 123e6, time.Local), Took: 15 * time.Second, Method: "POST", Path: "/hooks",
		Header: http.Header{
			"Webhook-Id": {"evt_1"}, "Beaconpost-Event-Type": {"order.paid"}, "Beaconpost-Attempt": {"2"}, "Beaconpost-Delivery-Id": {"dlv_1"},
			"Traceparent": {"00-0a-b7-01"}, "X": {"1", "2"},
		},
		Body: []byte(payload), Checked: true, Verified: true, Status: 200,
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	const ids = "  webhook-id evt_1  delivery dlv_1  traceparent 00-0a-b7-01\n"
	const body = "  {\n    \"order\": 42,\n    \"note\": \"caf\\u00e9 <b>\"\n  }\n"
	for name, tt := range map[string]struct {
		change func(*Record)
		want   string
	}{
		"verified":   {func(*Record) {}, "12:04:05.123  order.paid  attempt 2  ✓ verified  → 200\n" + ids + body},
		"duplicate":  {func(r *Record) { r.Duplicate = true }, "12:04:05.123  order.paid  attempt 2  ✓ verified  duplicate  → 200\n" + ids + body},
		"no secret":  {func(r *Record) { r.Checked, r.Verified = false, false }, "12:04:05.123  order.paid  attempt 2  – not verified, no --secret  → 200\n" + ids + body},
		"wrong":      {func(r *Record) { r.Verified, r.Error, r.Status = false, "wrong signature", 401 }, "12:04:05.123  order.paid  attempt 2  ✗ wrong signature  → 401\n" + ids + body},
		"unanswered": {func(r *Record) { r.Error, r.Status = "not answered", 0 }, "12:04:05.123  order.paid  attempt 2  ✓ verified  ✗ not answered  (after 15.0 s)\n" + ids + body},
		"stranger":   {func(r *Record) { r.Header, r.Body = http.Header{}, nil }, "12:04:05.123  POST /hooks  ✓ verified  → 200\n"},
		"not JSON":   {func(r *Record) { r.Body = []byte("a=1\r\n\x1b[2J\tz\n\n") }, "12:04:05.123  order.paid  attempt 2  ✓ verified  → 200\n" + ids + "  a=1·\n  ·[2J z\n"},
		"not UTF-8":  {func(r *Record) { r.Body = []byte{0xff, 0} }, "12:04:05.123  order.paid  attempt 2  ✓ verified  → 200\n" + ids + "  (2 bytes, not UTF-8)\n"},
		"long": {
			func(r *Record) { r.Body = []byte(strings.Repeat("é", 40)) },
			"12:04:05.123  order.paid  attempt 2  ✓ verified  → 200\n" + ids + "  " + strings.Repeat("é", 30) + " …\n  (80 bytes in all)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := record()
			tt.change(&rec)
			var out bytes.Buffer
			require.NoError(t, NewTextOutput(&out, 61).Show(rec))
			require.Equal(t, tt.want+"\n", out.String())
		})
	}
}

func TestTextWithoutBody(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, NewTextOutput(&out, 0).Show(record()))
	require.Equal(t, 3, strings.Count(out.String(), "\n"))
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, NewJSONOutput(&out).Show(record()))
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), "<b>")
	var got map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	at, err := time.Parse(time.RFC3339, got["time"].(string))
	require.NoError(t, err)
	require.True(t, at.Equal(record().Time))
	delete(got, "time")
	require.Equal(t, map[string]any{
		"id": "evt_1", "event_type": "order.paid", "attempt": 2.0, "delivery_id": "dlv_1", "verified": true, "duplicate": false, "status": 200.0,
		"took": "15s", "method": "POST", "path": "/hooks", "body": payload,
		"headers": map[string]any{
			"webhook-id": "evt_1", "beaconpost-event-type": "order.paid", "beaconpost-attempt": "2", "beaconpost-delivery-id": "dlv_1",
			"traceparent": "00-0a-b7-01", "x": "1, 2",
		},
	}, got)
}

func TestJSONUnverifiedBinary(t *testing.T) {
	t.Parallel()
	rec := record()
	rec.Checked, rec.Verified, rec.Error, rec.Body = false, false, "why", []byte{0xff, 0, 'a'}
	var out bytes.Buffer
	require.NoError(t, NewJSONOutput(&out).Show(rec))
	var got map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.Nil(t, got["verified"])
	require.Contains(t, got, "verified")
	require.Equal(t, "why", got["error"])
	require.NotContains(t, got, "body")
	body, err := base64.StdEncoding.DecodeString(got["body_base64"].(string))
	require.NoError(t, err)
	require.Equal(t, rec.Body, body)
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestOutputErrors(t *testing.T) {
	t.Parallel()
	for _, out := range []Output{NewJSONOutput(brokenPipe{}), NewTextOutput(brokenPipe{}, 100)} {
		require.ErrorContains(t, out.Show(record()), "write record: broken pipe")
	}
}
