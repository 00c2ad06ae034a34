package probe

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// echo answers each message with itself, after a greeting. At /close it leaves; elsewhere than at / it knows nothing.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && r.URL.Path != "/close" {
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("X-Token") == "wrong" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	_ = conn.Write(r.Context(), websocket.MessageText, []byte("hello"))
	if r.URL.Path == "/close" {
		_ = conn.Close(websocket.StatusGoingAway, "bye")
		return
	}
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newProber(t, ca.trusted)
	plain := strings.Replace(serve(t, echo), "http", "ws", 1)
	secure := strings.Replace(serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}}, echo), "http", "ws", 1)
	for name, tt := range map[string]struct {
		path, send, expect, token string
		cause                     check.Cause
	}{
		"handshake":        {"/", "", "", "", ""},
		"greeting":         {"/", "", "^hello$", "", ""},
		"echo":             {"/", "ping", "^ping$", "", ""},
		"never comes":      {"/", "ping", "^pong$", "", check.CauseTimeout},
		"leaves":           {"/close", "ping", "^pong$", "", check.CauseBody},
		"not found":        {"/other", "", "", "", check.CauseStatus},
		"not let in":       {"/", "", "", "wrong", check.CauseStatus},
		"greeting, closes": {"/close", "", "hello", "", ""},
	} {
		for _, url := range []string{plain, secure} {
			t.Run(name+" "+url[:3], func(t *testing.T) {
				t.Parallel()
				spec := check.Spec{Kind: check.WebSocket, URL: url + tt.path, Send: tt.send, Expect: tt.expect, Headers: map[string]string{"X-Token": tt.token}}
				require.NoError(t, spec.Check())
				j := job(spec)
				if tt.cause == check.CauseTimeout {
					j.Timeout = 3 * short
				}
				r := checkIt(t, p, j)
				require.Equal(t, tt.cause, r.Cause, "%+v %+v", r, r.Evidence)
				require.Positive(t, r.Phases.Connect)
				if tt.cause == "" {
					require.Equal(t, 101, r.Status)
				}
			})
		}
	}
}

func TestWebSocketGoneWrong(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	for name, tt := range map[string]struct {
		address string
		cause   check.Cause
	}{
		"plain HTTP":     {parse(t, serve(t, func(http.ResponseWriter, *http.Request) {})).Host, check.CauseStatus},
		"redirect":       {parse(t, serve(t, elsewhere(302, "http://a.test/"))).Host, check.CauseStatus},
		"wrong key":      {raw(t, answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: none\r\n\r\n")), check.CauseProtocol},
		"nonsense":       {raw(t, answer("hello\r\n\r\n")), check.CauseProtocol},
		"closes at once": {raw(t, answer("")), check.CauseReset},
		"refused":        {closedPort(t), check.CauseConnect},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := checkIt(t, p, job(check.Spec{Kind: check.WebSocket, URL: "ws://" + tt.address}))
			require.Equal(t, tt.cause, r.Cause, "%+v", r)
		})
	}
}
