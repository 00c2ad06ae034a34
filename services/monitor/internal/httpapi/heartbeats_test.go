package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeartbeatsAreCalledWithoutACredential(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		b.calls = nil
		for _, path := range []string{"", "/success", "/start", "/fail", "/log", "/0", "/255"} {
			b.do(method, "/v1/heartbeats/t0"+path, "", http.StatusOK)
		}
		require.Equal(t, []call{{"t0", "success", ""}, {"t0", "success", ""}, {"t0", "start", ""}, {"t0", "fail", ""}, {"t0", "log", ""}, {"t0", "0", ""}, {"t0", "255", ""}}, b.calls, method)
		for _, path := range []string{"t0/256", "t0/-1", "t0/01", "t0/stop", "unknown", "unknown/start"} {
			b.do(method, "/v1/heartbeats/"+path, "", http.StatusNotFound)
		}
	}
}

func TestAHeartbeatsBodyHasALimitAndIsNeverCut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	most := strings.Repeat("x", 8<<10)
	b.do(http.MethodPost, "/v1/heartbeats/t0/log", most, http.StatusOK)
	require.Equal(t, most, b.calls[0].body)
	require.Equal(t, "body_too_large", b.do(http.MethodPost, "/v1/heartbeats/t0/log", most+"x", http.StatusRequestEntityTooLarge)["code"])
	require.Len(t, b.calls, 1)
}
