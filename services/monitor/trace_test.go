package monitor

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// A check that there was no room for has a trace of its own like every other: in its line, and in what is recorded.
func TestACheckThatIsNotBegunHasATrace(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "monitor", LogWriter: &log, LogLevel: "info"})
	require.NoError(t, err)
	f := &monitor.Finding{Monitor: &monitor.Monitor{Key: monitor.Key{ID: uuid.New()}, Spec: check.Spec{Kind: check.HTTP}}}
	f.Outcome, f.Cause = check.NotChecked, check.CauseOverload
	newObserver(tel.Metrics, "eu", tel.Tracer, tel.Log).Checked(f)
	var line struct {
		Message string
		TraceID string `json:"trace_id"`
		SpanID  string `json:"span_id"`
	}
	require.NoError(t, json.Unmarshal(log.Bytes(), &line), log.String())
	require.Equal(t, "check", line.Message)
	traceID, spanID, _ := telemetry.IDsOf(f.Traceparent)
	require.Len(t, traceID, 32)
	require.Equal(t, []string{traceID, spanID}, []string{line.TraceID, line.SpanID})
}
