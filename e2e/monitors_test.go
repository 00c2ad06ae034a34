package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// mailbox is an SMTP relay that keeps what it is given.
type mailbox struct {
	port string
	mu   sync.Mutex
	got  []string
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	m := &mailbox{}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &letter{m: m}, nil }))
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, m.port, err = net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return m
}

// subjects are those of all mails.
func (m *mailbox) subjects() (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mail := range m.got {
		for line := range strings.Lines(mail) {
			if subject, ok := strings.CutPrefix(strings.TrimSpace(line), "Subject: "); ok {
				list = append(list, subject)
			}
		}
	}
	return list
}

type letter struct {
	m *mailbox
}

func (l *letter) Mail(string, *smtp.MailOptions) error { return nil }
func (l *letter) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (l *letter) Reset()                               {}
func (l *letter) Logout() error                        { return nil }
func (l *letter) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.got = append(l.m.got, string(body))
	return err
}

// watched is a target with a monitor, and everybody who is told of it.
type watched struct {
	*system
	id       string
	broken   atomic.Bool
	endpoint *endpoint
	mail     *mailbox
}

// watch starts a system that watches a target every ten seconds.
func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{mail: newMailbox(t)}
	w.system = startSystem(t, 1, "BEACONPOST_SMTP_HOST=127.0.0.1", "BEACONPOST_SMTP_PORT="+w.mail.port, "BEACONPOST_SMTP_TLS=none", "BEACONPOST_SMTP_FROM=alerts@example.com")
	w.startMonitor()
	target := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if w.broken.Load() {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(target.Close)
	w.endpoint = w.receive(nil, map[string]any{"event_types": []string{"monitor.*", "incident.*"}})
	var created struct{ ID string }
	w.call(w.APIKey, "POST", "/v1/alert-channels", map[string]any{"name": "on call", "kind": "email", "email": map[string]any{"to": []string{"ops@example.com"}}}, &created)
	w.call(w.APIKey, "POST", "/v1/alert-policies", map[string]any{"name": "all", "steps": []any{map[string]any{"channels": []string{created.ID}}}, "group_for": "1s"}, &struct{}{})
	w.call(w.APIKey, "POST", "/v1/monitors", map[string]any{"name": "shop", "kind": "http", "url": target.URL, "interval": "10s", "timeout": "2s", "recovery_threshold": 1}, &created)
	w.id = created.ID
	w.await("up")
	return w
}

func (s *system) startMonitor() {
	s.t.Helper()
	require.NoError(s.t, s.StartMonitor(s.t.Context()))
}

// status is what the API says, or its error.
func (w *watched) status() string {
	var m struct{ Status string }
	if err := w.Call(w.t.Context(), w.APIKey, "GET", "/v1/monitors/"+w.id, nil, &m); err != nil {
		return err.Error()
	}
	return m.Status
}

func (w *watched) await(status string) {
	w.t.Helper()
	got := ""
	require.Eventuallyf(w.t, func() bool {
		got = w.status()
		return got == status
	}, 90*time.Second, 50*time.Millisecond, "expected %s", status)
}

// told are the types of the events that the endpoint got, each as often as it got a different one.
func (w *watched) told() (types []string) {
	w.endpoint.mu.Lock()
	defer w.endpoint.mu.Unlock()
	for _, body := range w.endpoint.bodies {
		var event struct{ Type string }
		if json.Unmarshal(body, &event) == nil {
			types = append(types, event.Type)
		}
	}
	slices.Sort(types)
	return types
}

// A target goes down, and up again. Whatever dies before that is confirmed, and while it lasts, there is one incident, everybody is told of its beginning
// and its end once, and the ledger says for how long it was down, to the second.
func TestAnOutageIsWatchedFromItsFirstFailureToItsEnd(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(w *watched){
		"nothing dies": func(*watched) {},
		"the monitor is killed": func(w *watched) {
			w.Monitor.Kill()
			w.startMonitor()
		},
		"Postgres is restarted": func(w *watched) {
			w.stopPostgres()
			w.startPostgres()
		},
		"the broker is wiped": func(w *watched) {
			w.NATS.Kill()
			require.NoError(w.t, os.RemoveAll(w.NATSDir()))
			w.startNATS()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			w.broken.Store(true)
			broken := time.Now()
			fault(w)
			w.await("down")
			confirmed := time.Since(broken)
			fault(w)
			w.broken.Store(false)
			mended := time.Now()
			w.await("up")

			require.Equal(t, "1 0", w.query(`SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE resolved_at IS NULL)) FROM incidents`))
			want := []string{"incident.opened", "incident.resolved", "monitor.down", "monitor.up"}
			require.Eventually(t, func() bool { return len(w.told()) >= len(want) }, 60*time.Second, 50*time.Millisecond)
			require.Eventually(t, func() bool { return len(w.mail.subjects()) >= 2 }, 60*time.Second, 50*time.Millisecond)
			require.Equal(t, want, w.told())
			require.Empty(t, w.endpoint.bad, "every webhook is signed")
			require.Len(t, w.mail.subjects(), 2)

			// Down since the first failing slot, up since the first good one: the ledger and the checks say the same.
			const ledger = `SELECT round(extract(epoch FROM ended_at - started_at)::numeric, 1)::text FROM monitor_intervals WHERE status = 'down'`
			const checks = `
SELECT round(extract(epoch FROM
    (SELECT min(started_at - lag_us * interval '1 microsecond') FROM monitor_checks WHERE outcome = 'up' AND confirmation = 0 AND started_at > (SELECT max(started_at) FROM monitor_checks WHERE outcome = 'down'))
    - (SELECT min(started_at - lag_us * interval '1 microsecond') FROM monitor_checks WHERE outcome = 'down'))::numeric, 1)::text`
			require.Equal(t, w.query(checks), w.query(ledger))
			var uptime struct {
				Seconds struct{ Down float64 }
			}
			w.call(w.APIKey, "GET", "/v1/monitors/"+w.id+"/uptime", nil, &uptime)
			require.InDelta(t, atof(t, w.query(ledger)), uptime.Seconds.Down, 0.1)
			require.Less(t, confirmed, 60*time.Second, "a slot, two confirmations, and what the fault takes")
			t.Logf("down after %.1fs, of which a slot's wait at most 10s; down for %ss; mended %.1fs before up was seen; mails %q", confirmed.Seconds(), w.query(ledger), time.Since(mended).Seconds(), w.mail.subjects())
		})
	}
}

func atof(t *testing.T, text string) (f float64) {
	t.Helper()
	_, err := fmt.Sscan(text, &f)
	require.NoError(t, err)
	return f
}
