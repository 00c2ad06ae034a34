package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNotBefore(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 500, time.UTC)
	in := now.Add
	for field, want := range map[string]time.Time{
		"1": in(time.Second), "120": in(2 * time.Minute), "0120": in(2 * time.Minute), "3600": in(time.Hour), "3601": in(time.Hour),
		"99999999999999999999999999": in(time.Hour), strings.Repeat("9", 4000): in(time.Hour),
		"Tue, 24 Nov 2026 12:01:00 GMT": now.Truncate(time.Second).Add(time.Minute), "Tuesday, 24-Nov-26 12:01:00 GMT": now.Truncate(time.Second).Add(time.Minute),
		"Tue Nov 24 12:01:00 2026": now.Truncate(time.Second).Add(time.Minute), "Tue, 24 Nov 2099 12:01:00 GMT": in(time.Hour),
		"0": {}, "": {}, "-1": {}, "+1": {}, "1.5": {}, "1s": {}, "soon": {}, "1, 2": {}, "Tue, 24 Nov 2026 11:59:00 GMT": {}, "0x10": {},
	} {
		require.Equal(t, want, notBefore(field, now, time.Hour), "%.40q", field)
	}
	require.Zero(t, notBefore("60", now, 0), "it is ignored")
}

func TestRetryAfterOfAnyFailureCounts(t *testing.T) {
	t.Parallel()
	s := newSender(t, Config{RetryAfterMax: time.Hour})
	for status, counts := range map[int]bool{200: false, 204: false, 301: true, 404: true, 429: true, 500: true, 503: true} {
		before := time.Now()
		a := send(t, s, job(serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(status)
		})))
		if !counts {
			require.Zero(t, a.NotBefore, status)
			continue
		}
		require.WithinRange(t, a.NotBefore, before.Add(30*time.Second), time.Now().Add(30*time.Second), status)
	}
	a := send(t, s, job("http://"+raw(t, answer(fmt.Sprintf("HTTP/1.1 503 No\r\nRetry-After: %s7200\r\nContent-Length: 9\r\n\r\nhalf", strings.Repeat(" ", 100))))))
	require.NotZero(t, a.Class)
	require.False(t, a.NotBefore.IsZero(), "the header was read")
}
