package alert_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

func report(n byte, name string) alert.Report {
	return alert.Report{
		Incident: uuid.UUID{n}, Monitor: name, OpenedAt: noon, Cause: "status", Detail: "503 Service Unavailable", Regions: alert.Regions{Failing: 3, Passing: 1},
	}
}

func TestComposeOne(t *testing.T) {
	t.Parallel()
	r := report(1, "API <eu> & co")
	r.Target, r.Evidence, r.Link = "https://api.example.com/health", "expected 2xx, got 503", "https://beacon.example.com/incidents/1?a=1&b=2"
	r.Regions.Silent = 1
	m := alert.Compose(alert.Fire, []alert.Report{r}, at(5).Add(3*time.Second))
	require.Equal(t, "[DOWN] API <eu> & co", m.Subject)
	require.Equal(t, `API <eu> & co is down since 2026-11-24T12:00:00Z (5m 3s).

Target:    https://api.example.com/health
Cause:     status: 503 Service Unavailable
Regions:   3 of 4 see it, 1 could not check
Evidence:  expected 2xx, got 503
Incident:  01000000-0000-0000-0000-000000000000
Link:      https://beacon.example.com/incidents/1?a=1&b=2
`, m.Text)
	require.Contains(t, m.HTML, "<p>API &lt;eu&gt; &amp; co is down since 2026-11-24T12:00:00Z (5m 3s).</p>")
	require.Contains(t, m.HTML, `<td><a href="https://beacon.example.com/incidents/1?a=1&amp;b=2">`)
	require.NotContains(t, m.HTML, `href="https://api.example.com`, "what is not ours is not linked")
	require.Equal(t, []string{r.Incident.String()}, m.Threads)

	r.ResolvedAt = at(95)
	m = alert.Compose(alert.Resolve, []alert.Report{r, r}, at(99))
	require.Equal(t, "[RESOLVED] API <eu> & co, after 1h 35m", m.Subject)
	require.Contains(t, m.Text, "API <eu> & co was down for 1h 35m, from 2026-11-24T12:00:00Z to 2026-11-24T13:35:00Z.\n")
	require.Contains(t, alert.Compose(alert.Fire, []alert.Report{r}, at(96)).Text, "\nResolved:  meanwhile, 2026-11-24T13:35:00Z\n")
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	degraded := report(2, "db")
	degraded.Degraded = true
	for _, tt := range []struct {
		kind    alert.Kind
		reports []alert.Report
		want    string
	}{
		{alert.Escalate, []alert.Report{report(1, "api")}, "[ESCALATED] api, for 20m"},
		{alert.Remind, []alert.Report{report(1, "api")}, "[STILL DOWN] api, for 20m"},
		{alert.Remind, []alert.Report{degraded}, "[STILL DEGRADED] db, for 20m"},
		{alert.Fire, []alert.Report{degraded}, "[DEGRADED] db"},
		{alert.Fire, []alert.Report{degraded, report(1, "api")}, "[DOWN] 2 monitors: api, db"},
		{alert.Fire, []alert.Report{report(1, "\r\n\u202e")}, "[DOWN] a monitor without a name"},
		{alert.Resolve, []alert.Report{report(1, "a"), report(2, "b"), report(3, "c"), report(4, "d")}, "[RESOLVED] 4 monitors: a, b, c and 1 more"},
	} {
		require.Equal(t, tt.want, alert.Compose(tt.kind, tt.reports, at(20)).Subject)
	}
	require.Zero(t, alert.Compose(alert.Fire, nil, noon))
}

func TestComposeMany(t *testing.T) {
	t.Parallel()
	var list []alert.Report
	for i := range 60 {
		r := report(byte(i), fmt.Sprintf("m%02d", i))
		r.OpenedAt = noon.Add(time.Duration(i) * time.Second)
		list = append(list, r)
	}
	list[0].Degraded = true      // the least of them
	list[59].Regions.Passing = 0 // the worst
	list = append(list, list[7]) // by two policies
	m := alert.Compose(alert.Fire, list, at(5))
	require.Equal(t, "[DOWN] 60 monitors: m59, m01, m02 and 57 more", m.Subject)
	require.True(t, strings.HasPrefix(m.Text, `60 monitors are down or degraded.

- m59
  down since 2026-11-24T12:00:59Z (4m 1s)
  status: 503 Service Unavailable
  3 of 3 see it
  incident 3b000000-0000-0000-0000-000000000000

- m01
`), m.Text)
	require.Equal(t, 50, strings.Count(m.Text, "\n- "))
	require.True(t, strings.HasSuffix(m.Text, "\n\n… and 10 more.\n"))
	require.Contains(t, m.HTML, "<p>… and 10 more.</p>")
	require.Equal(t, 50, strings.Count(m.HTML, "<li>"))
	require.Len(t, m.Threads, alert.MaxListed)
	require.Equal(t, 1, strings.Count(m.Text, "- m07\n"))

	for i := range list {
		list[i].ResolvedAt = at(9)
	}
	m = alert.Compose(alert.Resolve, list[:2], at(20))
	require.Contains(t, m.Text, "2 monitors have recovered.")
	require.Contains(t, m.Text, "  was down for 8m 59s, until 2026-11-24T12:09:00Z\n")
}

// Whatever names and answers of targets are, the subject is one line, no line of the text and no element of the HTML is theirs.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	r := report(1, "api\r\nBcc: all@example.com\r\n\r\nbody\u202egnp.exe\x00\u2028x\xff")
	r.Detail, r.Evidence = "<script>alert(1)</script>\nIncident:  forged", "a\tb\u0085c"
	r.Link = "javascript:alert(1)"
	m := alert.Compose(alert.Fire, []alert.Report{r}, noon)
	require.Equal(t, "[DOWN] api Bcc: all@example.com bodygnp.exe x�", m.Subject)
	require.Equal(t, 1, strings.Count(m.Text, "\nIncident:"))
	require.NotContains(t, m.HTML, "<script")
	require.NotContains(t, m.HTML, "href")

	rapid.Check(t, func(t *rapid.T) {
		list := make([]alert.Report, rapid.IntRange(1, 3).Draw(t, "reports"))
		for i := range list {
			text := func() string { return string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "text")) }
			list[i] = alert.Report{Incident: uuid.UUID{byte(i)}, Monitor: text(), Target: text(), Cause: text(), Detail: text(), Evidence: text(), Link: text()}
		}
		m := alert.Compose(rapid.SampledFrom([]alert.Kind{alert.Fire, alert.Escalate, alert.Remind, alert.Resolve}).Draw(t, "kind"), list, noon)
		require.False(t, strings.ContainsFunc(m.Subject, unicode.IsControl))
		require.LessOrEqual(t, utf8.RuneCountInString(m.Subject), 200)
		require.True(t, utf8.ValidString(m.Subject+m.Text+m.HTML))
		require.False(t, strings.ContainsFunc(strings.ReplaceAll(m.Text, "\n", ""), unicode.IsControl))
	})
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 900 * time.Millisecond: "0s", time.Second: "1s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m", 303 * time.Second: "5m 3s",
		time.Hour: "1h", time.Hour + time.Second: "1h", 25 * time.Hour: "1d 1h", 400*24*time.Hour + 90*time.Minute: "400d 1h",
	} {
		m := alert.Compose(alert.Remind, []alert.Report{report(1, "api")}, noon.Add(d))
		require.Equal(t, "[STILL DOWN] api, for "+want, m.Subject)
	}
}
