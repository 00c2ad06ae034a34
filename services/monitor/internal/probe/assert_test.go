package probe

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestCheckAssertion(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{
		"true", "status == 200", "status in [200, 204] && duration_ms < 500", `headers["content-type"].startsWith("text/")`, `body.matches("^ok$")`,
		"json.ok", `has(json.ok) ? json.ok : false`, "certificate_days > 14", "tls_ms + connect_ms < 100", `answers.exists(a, a == "192.0.2.1")`, "loss_percent == 0",
	} {
		require.NoError(t, CheckAssertion(expr), expr)
	}
	for expr, part := range map[string]string{
		"":                             "assert is not a CEL expression",
		"status ==":                    "Syntax error",
		"unknown == 1":                 "undeclared reference",
		"status":                       "true or false",
		`body + "x"`:                   "true or false",
		`body == 3`:                    "no matching overload",
		`body.matches("(")`:            "not a CEL expression",
		`body.matches("x{600}y{600}")`: "not a CEL expression",
		strings.Repeat("x", 5000):      "at most",
		"[" + strings.Repeat("1,", 600) + "1].size() == 1": "not a CEL expression",
	} {
		err := CheckAssertion(expr)
		require.ErrorContains(t, err, part, expr)
		require.NotContains(t, err.Error(), "\n")
	}
}

// nested is an expression whose cost is 30 to the power of depth.
func nested(depth int) string {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 30), ",") + "]"
	expr := "true"
	for range depth {
		expr = list + ".all(x, " + expr + ")"
	}
	return expr
}

// An expression that costs too much ends soon, whatever it is made of.
func TestAssertionsCannotBurnTheProcessor(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	body := []byte("[" + strings.Repeat(`"`+strings.Repeat("a", 98)+`",`, 4000) + `"b"]`)
	for _, expr := range []string{
		nested(6),
		"json.all(a, json.all(b, json.all(c, a + b + c != body)))",
		"json.map(a, json.map(b, json.map(c, a + b + c))).size() == 0",
		`json.all(a, body.matches("(a+)+(b+)+(c+)+(d+)+$") || true)`,
		`json.all(a, body.contains(a + "x") || true)`,
		`body.matches("(" + body + ")*")`,
		`json.all(a, body.matches("(a{9}|" + a + "){50}") || true)`,
		strings.TrimSuffix(strings.Repeat(`body.matches("^(a?){40}(b|c?)*d$") || `, 60), "|| "),
	} {
		program, err := compileAssertion(p.env, expr)
		require.NoError(t, err, expr)
		l := &look{p: p, job: job(check.Spec{Assert: expr}), plan: &plan{assertion: program}, started: time.Now()}
		l.saw.body = body
		err = l.plan.assert(t.Context(), l)
		require.Error(t, err, expr)
		require.Less(t, time.Since(l.started), 8*time.Second, expr)
		_, got := expectation(err)
		t.Log(expr[:min(40, len(expr))], time.Since(l.started), err, got)
	}
}

// The limits leave room for what people ask of a large answer.
func TestAssertionsOnLargeBodies(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	item := `{"name":"` + strings.Repeat("a", 70) + `","up":true,"count":3}`
	body := []byte(`{"items":[` + strings.Repeat(item+",", 10_000) + item + `],"status":"ok"}`)
	for _, expr := range []string{
		`json.status == "ok" && size(json.items) > 100`,
		`body.contains("\"status\":\"ok\"")`,
		`json.items.all(i, i.up)`,
		`json.items.exists(i, i.name.startsWith("b")) == false`,
		`json.items.filter(i, i.count > 2 && i.up).size() == 10001`,
		`body.matches("status.:.ok")`,
		`json.items.map(i, i.count).all(c, c == 3)`,
	} {
		program, err := compileAssertion(p.env, expr)
		require.NoError(t, err, expr)
		l := &look{p: p, job: job(check.Spec{Assert: expr}), plan: &plan{assertion: program}, started: time.Now()}
		l.saw.body = body
		err = l.plan.assert(t.Context(), l)
		_, got := expectation(err)
		require.NoError(t, err, "%s: %s", expr, got)
	}
}

func TestPatternsCannotBurnTheProcessor(t *testing.T) {
	t.Parallel()
	pattern, err := check.CompilePattern(strings.Repeat("(a|b?)*", 100) + "c$")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	started := time.Now()
	require.False(t, matches(ctx, pattern, strings.Repeat("ab", check.MaxBodyBytes/2)))
	require.Less(t, time.Since(started), 5*time.Second)
	require.True(t, matches(context.Background(), pattern, strings.Repeat("ab", 500)+"c"))
}

func TestDepthOfJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{`{}`: 1, `[[{"a":"]]["}]]`: 3, `"\"[["`: 0, `{"[":{"{":[]}}`: 3, ``: 0} {
		require.Equal(t, want, depth([]byte(text)), text)
	}
	_, err := parseJSON([]byte(strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), false)
	require.ErrorContains(t, err, "deeply")
}

func TestPlansAreKeptUntilTheyChange(t *testing.T) {
	t.Parallel()
	p := newProber(t, func(c *Config) { c.Plans = 2 })
	plan := func(j *check.Job) *plan {
		made, err := p.planFor(j)
		require.NoError(t, err)
		return made
	}
	j := job(get("http://a.test"))
	first := plan(j)
	require.Same(t, first, plan(j))
	j.Version++
	second := plan(j)
	require.NotSame(t, first, second)
	require.Same(t, second, plan(j))
	require.Equal(t, 1, p.plans.recent.Len())

	plan(job(get("http://b.test")))
	require.Same(t, second, plan(j), "two have room")
	plan(job(get("http://c.test")))
	require.Same(t, second, plan(j), "the one that was not used goes")
	require.Len(t, p.plans.of, 2)

	trial := &check.Job{Monitor: uuid.Nil, Spec: j.Spec}
	require.NotSame(t, plan(trial), plan(trial))
	require.Len(t, p.plans.of, 2)
}
