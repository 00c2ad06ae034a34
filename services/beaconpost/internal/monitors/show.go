package monitors

import (
	"fmt"
	"io"
	"strings"
)

// count gives the number of changes with an action.
func (p plan) count(a action) (n int) {
	for _, c := range p {
		if c.action == a {
			n++
		}
	}
	return n
}

// write shows the plan to people.
func (p plan) write(w io.Writer) error {
	var b strings.Builder
	for i := range p {
		p[i].write(&b)
	}
	if n := p.count(keep); n > 0 {
		fmt.Fprintf(&b, "= %d unchanged\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *change) write(b *strings.Builder) {
	name := printable(c.name)
	switch c.action {
	case create:
		fmt.Fprintf(b, "+ %s  %s\n", name, c.wanted.summary())
	case update:
		fmt.Fprintf(b, "~ %s\n", name)
		c.writeDifferences(b)
	case remove:
		fmt.Fprintf(b, "- %s  %s %s\n", name, printable(c.current.text("kind")), printable(target(c.current)))
	case keep:
	}
}

func (c *change) writeDifferences(b *strings.Builder) {
	if c.seen == nil {
		b.WriteString("    (is sent as a whole: this server does not say beforehand what will change)\n")
		return
	}
	for _, d := range c.differences() {
		fmt.Fprintf(b, "    %s\n", d.describe(c.wanted.isSecret))
	}
	if text := c.secrets(); text != "" {
		fmt.Fprintf(b, "    secrets: %s\n", text)
	}
}

// differences are those that the server will see.
func (c *change) differences() []difference {
	return compare(c.current.settings(), c.seen.Monitor.settings(), "")
}

// secrets says what becomes of secrets beyond what the settings show; "": nothing.
func (c *change) secrets() string {
	switch {
	case c.seen.SecretsChanged == nil && shows(c.seen.Monitor):
		return "(sent again)"
	case c.seen.SecretsChanged != nil && *c.seen.SecretsChanged:
		return "(changed)"
	default:
		return ""
	}
}

// shows says whether there is a secret.
func shows(settings map[string]any) bool {
	for _, value := range settings {
		inner, _ := value.(map[string]any)
		if value == hidden || shows(inner) {
			return true
		}
	}
	return false
}
