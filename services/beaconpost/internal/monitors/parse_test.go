package monitors

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

var environment = map[string]string{"TOKEN": "s3cret", "EMPTY": ""}

func lookupEnv(name string) (string, bool) {
	value, ok := environment[name]
	return value, ok
}

func parseText(text string) ([]*declared, error) {
	return parse([]file{{"f.yaml", []byte(text)}}, lookupEnv)
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"one":              {"name: a\nkind: http\n", `[{"name":"a","kind":"http"}]`},
		"JSON":             {"{\n\t\"monitors\": [{\"name\": \"a\", \"port\": 1}]\n}", `[{"name":"a","port":1}]`},
		"several":          {"name: a\n---\nmonitors: [{name: b}, {name: c}]\n---\n---\nname: d\n", `[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d"}]`},
		"scalars":          {"name: a\na: 1\nb: 0.50\nc: true\nd: yes\ne: 2026-01-01\nf: '1'\ng: 18446744073709551615\nh: 30s\ni: [~]\nj: ~", `[{"name":"a","a":1,"b":0.5,"c":true,"d":"yes","e":"2026-01-01","f":"1","g":18446744073709551615,"h":"30s","i":[null]}]`},
		"environment":      {"name: a\nauth: {bearer: {$env: TOKEN}}\nbody: ${TOKEN} $TOKEN", `[{"name":"a","auth":{"bearer":"s3cret"},"body":"${TOKEN} $TOKEN"}]`},
		"defaults":         {"monitors: [{name: a}, {name: b, interval: 10s, tags: [x]}]\ndefaults: {interval: 1m, tags: [y, z]}", `[{"name":"a","interval":"1m","tags":["y","z"]},{"name":"b","interval":"10s","tags":["x"]}]`},
		"deep defaults":    {"defaults: {headers: {A: 1, B: 2}}\n---\nname: a\nheaders: {B: 3, C: 4}", `[{"name":"a","headers":{"A":1,"B":3,"C":4}}]`},
		"null takes out":   {"defaults: {interval: 1m, auth: {bearer: x, username: y}}\n---\nname: a\ninterval: ~\nauth: {bearer: ~}\n---\nname: b\nauth:", `[{"name":"a","auth":{"username":"y"}},{"name":"b","interval":"1m"}]`},
		"null in lists":    {"name: a\nl: [{equals: {x: ~}}]\no: {x: ~}", `[{"name":"a","l":[{"equals":{"x":null}}],"o":{}}]`},
		"null in defaults": {"defaults: {tls: {ca: ~}}\n---\nname: a", `[{"name":"a","tls":{}}]`},
		"variables clash":  {"defaults: {auth: {bearer: {$env: UNSET}}}\n---\nname: a\nauth: {bearer: {$env: TOKEN}}\n---\nname: b\nauth: {bearer: x}", `[{"name":"a","auth":{"bearer":"s3cret"}},{"name":"b","auth":{"bearer":"x"}}]`},
		"object for text":  {"defaults: {tls: x}\n---\nname: a\ntls: {}", `[{"name":"a","tls":{}}]`},
		"empty list":       {"monitors:\n---\nname: a", `[{"name":"a"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			monitors, err := parseText(tt.text)
			require.NoError(t, err)
			var got []document
			for _, m := range monitors {
				got = append(got, m.body)
			}
			text, err := json.Marshal(got)
			require.NoError(t, err)
			require.JSONEq(t, tt.want, string(text))
		})
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"name: a\nkind: http\nname: b":                 "f.yaml:3: name: the key is in line 1 already",
		"name: a\nheaders:\n  X: 1\n  X: 2":            "f.yaml:4: headers.X: the key is in line 3 already",
		"monitors:\n- name: a\n  x: 1\n  x: 2":         "f.yaml:4: monitors.0.x: the key is in line 3 already",
		"name: a\n---\nname: b\n---\nname: a":          `f.yaml:5: name: "a" is in f.yaml:1 already`,
		"monitors: []\nmonitor:\n  - x":                "f.yaml:2: monitor: unknown key; beside monitors and defaults there is none",
		"\nmonitor:\n  - x":                            "f.yaml:2: monitor: unknown key; expected monitors, defaults, or the settings of a monitor, which has a name",
		"- name: a":                                    "f.yaml:1: expected monitors, defaults, or the settings of a monitor",
		"monitors: {a: 1}":                             "f.yaml:1: monitors: expected a list\nf.yaml:1: monitors: expected the settings of a monitor\nf.yaml:1: monitors: expected the settings of a monitor",
		"monitors:\n- a":                               "f.yaml:2: monitors: expected the settings of a monitor",
		"monitors:\n- kind: http":                      "f.yaml:2: name: expected text: a monitor has a name",
		"name: 404":                                    "f.yaml:1: name: expected text: a monitor has a name",
		"{}":                                           "f.yaml:1: name: expected text: a monitor has a name",
		"defaults: 1":                                  "f.yaml:1: defaults: expected settings",
		"defaults:\n  name: x":                         "f.yaml:2: defaults.name: each monitor has a name of its own",
		"defaults: {a: 1}\n---\ndefaults: {a: 1}":      "f.yaml:3: defaults: they are in line 1 already; a file has them once, for all its monitors",
		"name: a\nbody: {$env: UNSET}":                 "f.yaml:2: body: the environment has no UNSET",
		"name: a\nbody: {$env: EMPTY}":                 "f.yaml:2: body: the environment has no EMPTY",
		"name: a\nbody: {$env: TOKEN, or: x}":          "f.yaml:2: body: expected {$env: NAME}, and nothing beside it",
		"name: a\nbody: {$env: 1}":                     "f.yaml:2: body: expected {$env: NAME}, and nothing beside it",
		"name: a\nx: &x [1]\ny: *x":                    "f.yaml:3: y: aliases are not followed; put what monitors share under defaults",
		"name: a\nx: &x [*x]":                          "f.yaml:2: x.0: aliases are not followed; put what monitors share under defaults",
		"name: a\n<<: {x: 1}":                          "f.yaml:2: <<: merge keys are not followed; put what monitors share under defaults",
		"name: a\nx: !env FOO":                         "f.yaml:2: x: unknown tag !env",
		"name: a\nx: !!binary aGk=":                    "f.yaml:2: x: unknown tag !!binary",
		"name: a\nx: .inf":                             "f.yaml:2: x: expected a number, got .inf",
		"name: a\n? [x]\n: 1":                          "f.yaml:2: expected a name as key",
		"name: a\nx: !!int b":                          "f.yaml:2: x: expected a number, got b",
		"name: a: b":                                   "f.yaml: not YAML: mapping values are not allowed in this context",
		"name: a\nx: [1":                               "f.yaml:2: not YAML: did not find expected ',' or ']'",
		"name: a\nx: y: z":                             "f.yaml:2: not YAML: mapping values are not allowed in this context",
		"":                                             "the files declare no monitor",
		"defaults: {a: 1}":                             "the files declare no monitor",
		"name: a\nbody: {$env: UNSET}\nx: {$env: NOT}": "f.yaml:2: body: the environment has no UNSET\nf.yaml:3: x: the environment has no NOT",
	} {
		_, err := parseText(text)
		require.EqualError(t, err, want, text)
	}
	_, err := parse([]file{{"a.yaml", []byte("name: a")}, {"b.yaml", []byte("\nname: a")}}, lookupEnv)
	require.EqualError(t, err, `b.yaml:2: name: "a" is in a.yaml:1 already`)
}

// What is exported is read as the same again, whatever is in it.
func FuzzExportIsRead(f *testing.F) {
	for _, text := range []string{"EHLO x\r\n", "yes", "012", "1:30", "~", "***", "a \nb\n\n", "", "<<", "!env X", "\x00\x1b", "{$env: X}", "# no", "é😀\u2028\ufeff", "\t\n\t.", "-----BEGIN\nx=\n-----END\n"} {
		f.Add(text, 1.5)
	}
	f.Fuzz(func(t *testing.T, text string, number float64) {
		var stored document
		raw, err := json.Marshal(map[string]any{"name": "a" + text, text: text, "x": map[string]any{"y" + text: []any{text, number, true}}})
		if err != nil || json.Unmarshal(raw, &stored) != nil || text == fromEnv || text == "name" || text == "x" {
			return // not what can be stored
		}
		var out bytes.Buffer
		require.NoError(t, writeYAML(&out, []document{stored}))
		monitors, err := parse([]file{{"f.yaml", out.Bytes()}}, lookupEnv)
		require.NoError(t, err, out.String())
		require.Equal(t, stored.settings(), monitors[0].body.settings(), out.String())
	})
}

func FuzzParse(f *testing.F) {
	f.Add("defaults: {a: {b: 1}}\n---\nmonitors: [{name: a, a: {c: {$env: TOKEN}}}]")
	f.Add("? x\n: - !!map {}\n- &a *a")
	f.Fuzz(func(t *testing.T, text string) {
		monitors, err := parseText(text)
		if err != nil {
			return
		}
		for _, m := range monitors {
			_, err := json.Marshal(m.body)
			require.NoError(t, err)
		}
	})
}
