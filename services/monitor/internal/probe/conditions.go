package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	maxDepth  = 200      // of JSON: paths visit a node once for each level above it
	fastSteps = 64 << 20 // of matching: some tenths of a second
)

// document is the body as JSON, parsed when something asks for it first.
type document struct {
	parsed bool
	value  any
	err    error
}

func (l *look) json() (any, error) {
	d := &l.saw.document
	if !d.parsed {
		d.parsed = true
		d.value, d.err = parseJSON(l.saw.body, l.saw.truncated)
	}
	return d.value, d.err
}

func parseJSON(body []byte, truncated bool) (any, error) {
	if truncated {
		return nil, errors.New("it is longer than max_body_bytes")
	}
	if depth(body) > maxDepth {
		return nil, errors.New("it is nested too deeply")
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return nil, errors.New("it is not JSON")
	}
	return value, nil
}

// depth says how deeply a text is nested, if it is JSON.
func depth(text []byte) int {
	deepest, level, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// normal gives a value as encoding/json gives it, so that what came from a YAML file compares too.
func normal(value any) (any, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // nothing to compare with
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var same any
	err = json.Unmarshal(text, &same)
	return same, err
}

func (m *plan) checkStatus(status int) error {
	var expected []string
	for _, r := range m.statuses {
		if status >= r.first && status <= r.last {
			return nil
		}
		if r.first == r.last {
			expected = append(expected, fmt.Sprint(r.first))
		} else {
			expected = append(expected, fmt.Sprintf("%d-%d", r.first, r.last))
		}
	}
	return &unmet{check.CauseStatus, fmt.Sprintf("The status is %d.", status), "status " + strings.Join(expected, ", "), fmt.Sprint(status)}
}

// checkHeaders takes a condition as met if one of a field's values meets it.
func (m *plan) checkHeaders(ctx context.Context, header http.Header) error {
	for _, c := range m.headers {
		values := header.Values(c.Name)
		met := false
		for _, value := range values {
			met = met || c.met(ctx, value)
		}
		if met != c.Not {
			continue
		}
		got := strings.Join(values, ", ")
		if isSecret(c.Name) && got != "" {
			got = hidden
		}
		return &unmet{check.CauseHeader, fmt.Sprintf("The header %s is not as expected.", c.Name), c.Name + " " + c.String(), got}
	}
	return nil
}

func (m *plan) checkBody(ctx context.Context, body []byte) error {
	text := string(body)
	for _, c := range m.body {
		if c.met(ctx, text) == c.Not {
			return &unmet{check.CauseBody, "The body is not as expected.", "body " + c.String(), text[:min(len(text), keptValue)]}
		}
	}
	return ctx.Err()
}

func (c condition) met(ctx context.Context, text string) bool {
	switch {
	case c.Equals != "":
		return text == c.Equals
	case c.Contains != "":
		return strings.Contains(text, c.Contains)
	default:
		return c.pattern != nil && matches(ctx, c.pattern, text)
	}
}

// String completes "expected: body …".
func (c condition) String() string {
	not := ""
	if c.Not {
		not = "not "
	}
	switch {
	case c.Equals != "":
		return not + "equal to " + c.Equals
	case c.Contains != "":
		return not + "containing " + c.Contains
	default:
		return not + "matching " + c.Matches
	}
}

// matches ends when the context does, if the text is such that it may take long. That way of matching is the slower one.
func matches(ctx context.Context, pattern *check.Pattern, text string) bool {
	if pattern.Size*len(text) <= fastSteps {
		return pattern.MatchString(text)
	}
	return pattern.MatchReader(&runes{ctx: ctx, text: text}) && ctx.Err() == nil
}

// runes reads a text until a context ends.
type runes struct {
	ctx  context.Context
	text string
	read int
}

// ReadRune implements io.RuneReader.
func (r *runes) ReadRune() (rune, int, error) {
	r.read++
	if r.text == "" || r.read%1024 == 0 && r.ctx.Err() != nil {
		return 0, 0, io.EOF
	}
	char, size := utf8.DecodeRuneInString(r.text)
	r.text = r.text[size:]
	return char, size, nil
}

func (l *look) checkJSON() error {
	for _, c := range l.plan.json {
		value, err := l.json()
		if err != nil {
			return &unmet{check.CauseBody, fmt.Sprintf("The body cannot be read as JSON: %s.", err), c.expected(), ""}
		}
		found := c.path.Select(value)
		met := len(found) > 0
		if c.equals != nil {
			met = false
			for _, one := range found {
				met = met || reflect.DeepEqual(one, c.equals)
			}
		}
		if met == c.Not {
			return &unmet{check.CauseBody, fmt.Sprintf("%s is not as expected.", c.Path), c.expected(), shown(found)}
		}
	}
	return nil
}

func (c *jsonCondition) expected() string {
	not := ""
	if c.Not {
		not = " not"
	}
	if c.equals == nil {
		return c.Path + not + " to exist"
	}
	return c.Path + not + " equal to " + shown([]any{c.equals})
}

// shown gives the first few values that a path found.
func shown(values []any) string {
	texts := make([]string, 0, 3)
	for _, value := range values[:min(len(values), cap(texts))] {
		text, err := json.Marshal(value)
		if err != nil {
			continue
		}
		texts = append(texts, string(text))
	}
	return strings.Join(texts, ", ")
}
