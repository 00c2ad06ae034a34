package monitors

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const several = `
- name: Mail
  kind: tcp
  host: mail.example.com
  port: 25
  send: "EHLO x\r\n"
  tags: [mail]
- name: Shop
  kind: http
  url: https://shop.example.com
  auth: {username: yes, password: t0psecret}
  status_codes: ["200", 3xx]
  slo: {target: 0.999}
- name: "Back\tup"
  kind: heartbeat
  expected: {cron: 0 3 * * *, time_zone: Europe/Berlin}
`

func TestExport(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	applied(t, a, "monitors:"+several)
	out, _, err := run(t, a, "", "export")
	require.NoError(t, err)
	golden, err := os.ReadFile("testdata/export.yaml")
	require.NoError(t, err)
	require.Equal(t, string(golden), out)
	a.taken()
	require.Equal(t, "= 3 unchanged\n\nNothing to do.\n", applied(t, a, out, "--prune"))
	require.Empty(t, a.taken())

	out, _, err = run(t, a, "", "export", "--tag", "mail")
	require.NoError(t, err)
	require.Contains(t, out, "name: Mail")
	require.NotContains(t, out, "Shop")
	out, _, err = run(t, newAPI(t), "", "export")
	require.NoError(t, err)
	require.Equal(t, "monitors: []\n", out)
}

func TestList(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.pageSize = 2
	applied(t, a, "monitors:"+several)
	out, _, err := run(t, a, "", "list")
	require.NoError(t, err)
	require.Equal(t, `NAME        KIND       STATUS  SINCE                 TARGET
"Back\tup"  heartbeat  up      2026-11-02T10:00:00Z  0 3 * * *
Mail        tcp        up      2026-11-02T10:00:00Z  mail.example.com:25
Shop        http       up      2026-11-02T10:00:00Z  https://shop.example.com
`, out)
	out, _, err = run(t, a, "", "list", "--tag", "mail", "--json")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(out, "\n"))
	require.JSONEq(t, `{"id":"ID","name":"Mail","kind":"tcp","host":"mail.example.com","port":25,"send":"EHLO x\r\n","tags":["mail"],"interval":"30s","failure_threshold":3,
		"paused":false,"regions":["default"],"status":"up","since":"2026-11-02T10:00:00Z","version":1,"created_at":"2026-11-01T00:00:00Z","updated_at":"2026-11-01T00:00:00Z"}`, regexp.MustCompile(`"m00\d"`).ReplaceAllString(out, `"ID"`))
}
