package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const declared = `
defaults: {interval: 1m, tags: [shop], paused: true}
monitors:
  - name: Shop
    kind: http
    url: https://shop.example.com/health
    status_codes: ["200", 3xx]
    headers: {Authorization: {$env: SHOP_TOKEN}, X-Shop: a}
    expect_json: [{path: $.ready, equals: "true"}]
    assert: status == 200 && duration_ms < 500
    slo: {target: 0.999}
  - {name: Mail, kind: tcp, host: mail.example.com, port: 25, starttls: smtp, interval: 5m}
  - {name: Names, kind: dns, host: example.com, record_type: MX, resolver: 192.0.2.53, transport: tcp}
  - {name: Certificate, kind: tls, host: example.com, port: 443, certificate_days: 14}
  - {name: Game, kind: udp, host: game.example.com, port: 9987, send: PING, expect: "^PONG"}
  - {name: Gateway, kind: icmp, host: 192.0.2.1, packets: 3, max_loss: 50}
  - {name: Payments, kind: grpc, host: pay.example.com, port: 443, service: pay.v1.Payments}
  - {name: Feed, kind: websocket, url: "wss://feed.example.com/", send: ping, expect: pong}
  - name: Nightly backup
    kind: heartbeat
    interval: null
    expected: {cron: "0 3 * * *", time_zone: Europe/Berlin, grace: 1h}
`

// cli runs the program against the monitor service and gives what it printed.
func (s *system) cli(token string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), bin.Beaconpost, args...)
	cmd.Env = append(os.Environ(), "BEACONPOST_URL="+s.MonitorURL, "BEACONPOST_API_KEY="+s.APIKey, "SHOP_TOKEN="+token)
	var out, notes bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &notes
	require.NoError(s.t, cmd.Run(), "%v\n%s\n%s", args, out.String(), notes.String())
	return out.String()
}

// Monitors are kept in files: what is applied again changes nothing, what is exported is what was applied.
func TestMonitorsAreKeptInFiles(t *testing.T) {
	t.Parallel()
	s := startSystem(t, 0)
	s.startMonitor()
	dir := t.TempDir()
	file, exported := filepath.Join(dir, "monitors.yaml"), filepath.Join(dir, "exported.yaml")
	write := func(name, text string) { require.NoError(t, os.WriteFile(name, []byte(text), 0o600)) }
	write(file, declared)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	watched := fmt.Sprintf("{name: Watched, kind: http, url: %q, interval: 10s, timeout: 5s, status_codes: [\"404\"], tls: {insecure_skip_verify: true}}", secure.URL)
	write(filepath.Join(dir, "watched.yaml"), watched)

	plan := s.cli("secret-1", "monitors", "apply", "-f", file, "--dry-run")
	require.Contains(t, plan, "9 to create, 0 to change, 0 to delete")
	require.Equal(t, "0", s.query(`SELECT count(*) FROM monitors`))
	require.Contains(t, s.cli("secret-1", "monitors", "apply", "-f", file, "--yes"), "created Nightly backup")
	require.Equal(t, "9", s.query(`SELECT count(*) FROM monitors`))
	require.Contains(t, s.cli("secret-1", "monitors", "apply", "-f", file, "--yes"), "Nothing to do.")

	// What checks found of a monitor is no setting of it.
	s.cli("", "monitors", "apply", "-f", filepath.Join(dir, "watched.yaml"), "--yes")
	require.Eventually(t, func() bool { return strings.Contains(s.cli("", "monitors", "list", "--json"), "certificate_ends_at") }, 30*time.Second, 200*time.Millisecond)
	require.Contains(t, s.cli("", "monitors", "apply", "-f", filepath.Join(dir, "watched.yaml"), "--yes"), "Nothing to do.")

	write(exported, s.cli("", "monitors", "export"))
	require.Contains(t, s.cli("", "monitors", "apply", "-f", exported, "--prune", "--yes"), "Nothing to do.")
	require.Len(t, strings.Split(strings.TrimSpace(s.cli("", "monitors", "list")), "\n"), 11, "a heading and ten monitors")

	// A secret that changed, a setting that changed, one that is new, and one that is in no file any more.
	changed := strings.Replace(declared, "interval: 5m", "interval: 10m", 1)
	changed = strings.Replace(changed, "name: Feed,", "name: Ticker,", 1)
	write(file, changed)
	done := s.cli("secret-2", "monitors", "apply", "-f", file, "--prune", "--yes")
	require.Contains(t, done, "1 to create, 2 to change, 2 to delete")
	require.Contains(t, done, "interval: 5m0s -> 10m0s")
	require.NotContains(t, done, "secret-2")
	require.Contains(t, s.cli("secret-2", "monitors", "apply", "-f", file, "--prune", "--yes"), "Nothing to do.")
	require.Equal(t, "Certificate Game Gateway Mail Names Nightly backup Payments Shop Ticker", s.query(`SELECT string_agg(name, ' ' ORDER BY name) FROM monitors WHERE deleted_at IS NULL`))
	require.Equal(t, "0", s.query(`SELECT count(*) FROM monitors WHERE spec::text LIKE '%secret-%'`), "secrets are sealed")
}
