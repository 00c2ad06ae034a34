package monitors

import (
	"errors"
	"fmt"
	"strings"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

// isSecret says whether what is at a path came from the environment, in part at least.
func (d *declared) isSecret(path string) bool {
	for secret := range d.secrets {
		if secret == path || strings.HasPrefix(secret, path+".") {
			return true
		}
	}
	return false
}

// summary says in a line what it looks at.
func (d *declared) summary() string {
	for _, path := range []string{"kind", "url", "host", "port", "expected"} {
		if d.isSecret(path) {
			return "(secret)"
		}
	}
	return strings.TrimSpace(printable(d.body.text("kind")) + " " + printable(target(d.body)))
}

// lineOf gives the line that says what is at a path, or what it is part of.
func (d *declared) lineOf(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return d.line
}

// explain makes an error one that says where in the files its cause is, a line for each cause. It shows no value of a variable.
func (d *declared) explain(err error) error {
	if m, ok := errors.AsType[*misplaced](err); ok {
		return d.at(m.path, m.Error())
	}
	p, ok := errors.AsType[*demo.Problem](err)
	if !ok || !refusal(err) || p.Detail == "" {
		return d.at("", err.Error())
	}
	if len(p.Errors) == 0 {
		return d.at(p.Field, p.Detail)
	}
	var lines []error
	for _, e := range p.Errors {
		lines = append(lines, d.at(e.Field, e.Detail))
	}
	return errors.Join(lines...)
}

func (d *declared) at(field, text string) error {
	for _, secret := range d.secrets {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	where := printable(d.name) + ": "
	if !strings.HasPrefix(text, field) { // some details begin with it
		where += printable(field) + ": "
	}
	return fmt.Errorf("%s:%d: %s%s", d.file, d.lineOf(field), where, text)
}
