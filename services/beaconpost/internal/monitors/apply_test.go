package monitors

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

const shop = `
defaults:
  tags: [shop]
monitors:
  - name: Shop
    kind: http
    url: https://shop.example.com/health
  - name: Mail
    kind: tcp
    host: mail.example.com
    port: 25
    interval: 60s
  - name: Backup
    kind: heartbeat
    expected: {every: 24h, grace: 1h}
`

func TestApply(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	out := applied(t, a, shop)
	plan, done, _ := strings.Cut(out, "delete\n")
	require.Equal(t, `+ Shop  http https://shop.example.com/health
+ Mail  tcp mail.example.com:25
+ Backup  heartbeat 24h

3 to create, 0 to change, 0 to `, plan)
	require.ElementsMatch(t, []string{"created Shop", "created Mail", "created Backup"}, strings.Split(strings.TrimSpace(done), "\n"))
	require.Equal(t, []string{"POST Backup", "POST Mail", "POST Shop"}, a.taken())

	require.Equal(t, "= 3 unchanged\n\nNothing to do.\n", applied(t, a, shop), "60s is 1m0s, and what is left out is as the server has it")
	require.Empty(t, a.taken())

	changed := strings.Replace(shop, "interval: 60s", "failure_threshold: 5", 1)
	changed, _, _ = strings.Cut(changed, "  - name: Backup")
	changed += "  - {name: New, kind: dns, host: example.com, record_type: MX}\n"
	require.Equal(t, `~ Mail
    failure_threshold: 3 -> 5
    interval: 1m0s -> 30s
+ New  dns example.com MX
- Backup  heartbeat 24h
= 1 unchanged

1 to create, 1 to change, 1 to delete
`, applied(t, a, changed, "--prune", "--dry-run"))
	require.Empty(t, a.taken())
	require.NotContains(t, applied(t, a, changed), "Backup", "is left alone")
	require.Equal(t, []string{"POST New", "PUT Mail"}, a.taken())
	require.Contains(t, applied(t, a, changed, "--prune"), "deleted Backup\n")
	require.Equal(t, []string{"DELETE Backup"}, a.taken())
	require.Equal(t, "= 3 unchanged\n\nNothing to do.\n", applied(t, a, changed, "--prune"))
}

func TestPlanOfEveryKindOfDifference(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	applied(t, a, `{"name": "A", "kind": "http", "url": "https://a", "tags": ["a", "b"], "headers": {"X": "1", "Y": "2"}, "tls": {"ca": "PEM\nPEM"}, "slo": {"target": 0.99}}`)
	require.Equal(t, `~ A
    headers.X: 1 -> {"$env":"no"}
    headers.Y: 2 -> (none)
    interval: 30s -> 1m30s
    paused: false -> true
    send: (none) -> "\x1b[2J"
    slo.target: 0.99 -> 0.999
    tags: ["a","b"] -> (none)
    tls: {"ca":"PEM\nPEM"} -> (none)
    url: https://a -> https://b

0 to create, 1 to change, 0 to delete
`, applied(t, a, `{"name": "A", "kind": "http", "url": "https://b", "interval": "90s", "paused": true, "headers": {"X": "{\"$env\":\"no\"}"}, "slo": {"target": 0.999}, "send": "\u001b[2J"}`, "--dry-run"))
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	applied(t, a, "name: Kind\nkind: tcp")
	a.taken()
	const content = `defaults:
  interval: 1s
monitors:
  - name: Good
    interval: 1m
  - name: Bad
    colour: red
  - name: Kind
    kind: icmp
    interval: 1m
`
	out, notes, err := run(t, a, content, "apply", "-f", "-", "--yes")
	require.EqualError(t, err, "<stdin>:7: Bad: colour: unexpected property\n<stdin>:2: Bad: interval: Expected 10s or more.\n<stdin>:9: Kind: kind: The kind cannot be changed.")
	require.Empty(t, out+notes)
	require.Empty(t, a.taken(), "nothing is done")
}

func TestGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	applied(t, a, "{name: Old, kind: tcp}")
	a.taken()
	a.refuse = map[string]int{"Shop": 422, "Mail": 503, "Old": 500}
	out, notes, err := run(t, a, shop, "apply", "-f", "-", "--yes", "--prune")
	require.EqualError(t, err, "3 of 4 changes failed; apply again makes what is missing")
	require.Contains(t, out, "\ncreated Backup\n")
	require.Contains(t, notes, "<stdin>:5: Shop: name: Not now.\n")
	require.Contains(t, notes, "<stdin>:8: Mail: no: name: Not now. (HTTP 503 Service Unavailable)\n")
	require.Contains(t, notes, "delete Old: no: Not now. (HTTP 500 Internal Server Error)\n")
	require.Equal(t, []string{"POST Backup"}, a.taken())

	a.refuse = nil
	require.Contains(t, applied(t, a, shop, "--prune"), "2 to create, 0 to change, 1 to delete\n")
}

func TestManyAtATime(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.pageSize = 7
	content := "monitors:\n"
	for i := range 100 {
		content += "- {name: m" + strings.Repeat("i", i) + ", kind: icmp, host: h}\n"
	}
	applied(t, a, content)
	require.Len(t, a.taken(), 100)
	require.Equal(t, parallel, a.most)
	require.Equal(t, "= 100 unchanged\n\nNothing to do.\n", applied(t, a, content, "--prune"))
}

func TestSecrets(t *testing.T) {
	t.Setenv("SHOP_TOKEN", "t0psecret")
	a := newAPI(t)
	file := func(bearer string) string {
		return "name: Shop\nkind: http\nurl: https://shop\nauth:\n  bearer: " + bearer + "\n"
	}
	const nothing = "= 1 unchanged\n\nNothing to do.\n"
	require.Contains(t, applied(t, a, file("{$env: SHOP_TOKEN}")), "+ Shop  http https://shop\n")
	require.Equal(t, "t0psecret", a.stored["m001"]["auth"].(map[string]any)["bearer"])
	require.Equal(t, nothing, applied(t, a, file("{$env: SHOP_TOKEN}")))
	require.Equal(t, nothing, applied(t, a, file(`"***"`)))

	t.Setenv("SHOP_TOKEN", "0ther")
	const summary = "\n0 to create, 1 to change, 0 to delete\n"
	require.Equal(t, "~ Shop\n    secrets: (changed)\n"+summary+"changed Shop\n", applied(t, a, file("{$env: SHOP_TOKEN}")))
	require.Equal(t, "~ Shop\n    auth: {\"bearer\":\"***\"} -> (none)\n    secrets: (changed)\n"+summary,
		applied(t, a, "name: Shop\nkind: http\nurl: https://shop\n", "--dry-run"))
	require.Equal(t, "~ Shop\n    headers: (none) -> (secret)\n    url: (secret) -> (secret)\n"+summary,
		applied(t, a, "name: Shop\nkind: http\nurl: {$env: SHOP_TOKEN}\nauth: {bearer: '***'}\nheaders: {X-Env: {$env: SHOP_TOKEN}}", "--dry-run"))

	// *** needs something to stand for.
	_, _, err := run(t, a, "name: New\nkind: http\nheaders:\n  Authorization: '***'", "apply", "-f", "-", "--yes")
	require.EqualError(t, err, "<stdin>:4: New: headers.Authorization: *** stands for a secret that is stored, and none is: give it as {$env: NAME}")

	// An error that repeats a value does not show it.
	t.Setenv("SHOP_TOKEN", "https://top secret")
	out, notes, err := run(t, a, "name: New\nkind: http\nurl: {$env: SHOP_TOKEN}", "apply", "-f", "-", "--yes")
	require.EqualError(t, err, "<stdin>:3: New: url must have no space: ***")
	require.Empty(t, out+notes)
	require.Contains(t, applied(t, a, "name: New\nkind: http\nhost: {$env: SHOP_TOKEN}", "--dry-run"), "+ New  (secret)\n")
}

// A server without previews is sent what may differ, and what changed is seen afterwards.
func TestWithoutPreviews(t *testing.T) {
	t.Setenv("SHOP_TOKEN", "t0psecret")
	a := newAPI(t)
	a.noPreview = true
	applied(t, a, shop)
	a.taken()
	out := applied(t, a, strings.Replace(shop, "60s", "90s", 1))
	require.Contains(t, out, "~ Mail\n    (is sent as a whole: this server does not say beforehand what will change)\n")
	require.Contains(t, out, "changed Mail\n    interval: 1m0s -> 1m30s\n")
	require.Contains(t, out, "unchanged Shop\n")
	require.Equal(t, []string{"PUT Backup", "PUT Mail", "PUT Shop"}, a.taken())

	const secret = "{name: Shop, kind: http, url: https://s, auth: {bearer: {$env: SHOP_TOKEN}}}"
	require.Contains(t, applied(t, a, secret), "changed Shop\n    auth: (none) -> (secret)\n    tags: [\"shop\"] -> (none)\n    url: https://shop.example.com/health -> https://s\n    secrets: (sent again)\n")
	require.Contains(t, applied(t, a, secret), "changed Shop\n    secrets: (sent again)\n")

	exported, _, err := run(t, a, "", "export")
	require.NoError(t, err)
	require.Equal(t, "= 3 unchanged\n\nNothing to do.\n", applied(t, a, exported, "--prune"))
}

func TestFiles(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	dir := t.TempDir()
	writeFile(t, dir, "b.yml", "name: B\nkind: icmp")
	writeFile(t, dir, "a.yaml", "name: A\nkind: icmp")
	writeFile(t, dir, "c.json", `{"name": "C", "kind": "icmp"}`)
	writeFile(t, dir, "README.md", "# no")
	writeFile(t, dir, ".hidden.yaml", "no")
	require.NoError(t, os.Mkdir(dir+"/sub.yaml", 0o700))
	other := writeFile(t, t.TempDir(), "d,e.yaml", "name: D\nkind: icmp")
	out, _, err := run(t, a, "{name: E, kind: icmp}", "apply", "-f", dir, "-f", other, "--file", "-", "--dry-run")
	require.NoError(t, err)
	require.Equal(t, "+ A  icmp\n+ B  icmp\n+ C  icmp\n+ D  icmp\n+ E  icmp\n\n5 to create, 0 to change, 0 to delete\n", out)

	for want, paths := range map[string][]string{
		"has no *.yaml, *.yml or *.json":       {t.TempDir()},
		"read monitors: stat /no/where:":       {"/no/where"},
		`b.yml:1: name: "B" is in ` + dir:      {dir, dir + "/b.yml"},
		"not YAML: did not find expected node": {"-"},
	} {
		line := []string{"apply", "--yes"}
		for _, path := range paths {
			line = append(line, "-f", path)
		}
		_, _, err := run(t, a, "{", line...)
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, a.taken())
}

func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	out, _, err := run(t, a, shop, "apply", "-f", "-")
	require.ErrorIs(t, err, errNoTerminal)
	require.Contains(t, out, "+ Shop", "the plan is shown")
	require.Empty(t, a.taken())

	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	require.True(t, isTerminal(null))
	require.ErrorIs(t, confirm(t.Context(), null, io.Discard, true), errNoTerminal)
	require.False(t, isTerminal(strings.NewReader("yes")))
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]error{"yes\n": nil, "Y \n": nil, "yes": nil, "no\n": errNotConfirmed, "\n": errNotConfirmed, "": errNoTerminal, "yesterday\n": errNotConfirmed} {
		var out bytes.Buffer
		require.ErrorIs(t, confirm(t.Context(), strings.NewReader(answer), &out, true), want, answer)
		require.Equal(t, "Apply? (yes/no) ", out.String())
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, confirm(ctx, r, io.Discard, true), errNotConfirmed)
	require.NoError(t, w.Close())
}

func TestStopsWhenAsked(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	monitors, err := parseText(shop)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s := &applier{server: server{demo.Client{URL: a.URL, APIKey: "bp_1"}}, out: io.Discard, notes: io.Discard, confirm: func(context.Context) error {
		cancel()
		return nil
	}}
	require.EqualError(t, s.run(ctx, monitors), "0 of 3 changes were made: context canceled")
	require.Empty(t, a.taken())
}

func TestServerErrors(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, args := range [][]string{{"list"}, {"export"}, {"apply", "-f", "-", "--yes"}} {
		a.unauthorized = true
		out, notes, err := run(t, a, shop, args...)
		require.EqualError(t, err, "list monitors: unauthorized: Who is it? (HTTP 401 Unauthorized)")
		require.Empty(t, out+notes)
	}
}
