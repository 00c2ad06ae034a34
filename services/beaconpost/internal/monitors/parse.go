package monitors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// declared is a monitor as a file says it.
type declared struct {
	name    string
	file    string
	line    int
	body    document          // as it is sent
	lines   map[string]int    // by dotted path, as in the API's errors
	secrets map[string]string // values that came from the environment, by dotted path
}

// parser collects monitors, and everything that is wrong.
type parser struct {
	lookup   func(string) (string, bool) // of the environment
	file     string
	errs     []error
	monitors []*declared
	first    map[string]*declared // by name
}

// parse reads the monitors that files declare. The error tells everything that is wrong, each with file, line and key.
func parse(files []file, lookup func(string) (string, bool)) ([]*declared, error) {
	p := &parser{lookup: lookup, first: map[string]*declared{}}
	for _, f := range files {
		p.parse(f)
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	if len(p.monitors) == 0 {
		return nil, errors.New("the files declare no monitor")
	}
	return p.monitors, nil
}

func (p *parser) report(n *yaml.Node, key, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if key != "" {
		text = key + ": " + text
	}
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.file, n.Line, text))
}

// parse reads one file. Its defaults are for all its documents.
func (p *parser) parse(f file) {
	p.file = f.name
	roots, err := documents(f)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	before := len(p.errs)
	var defaults *yaml.Node
	var nodes []*yaml.Node
	for _, root := range roots {
		p.check(root, "")
		if len(p.errs) == before {
			nodes = append(nodes, p.split(root, &defaults)...)
		}
	}
	if len(p.errs) > before {
		return
	}
	for _, n := range nodes {
		p.declare(merged(defaults, n))
	}
}

// documents gives the root of each document that is not empty.
func documents(f file) ([]*yaml.Node, error) {
	var roots []*yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(f.body)); ; {
		var n yaml.Node
		err := decoder.Decode(&n)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, syntaxError(f.name, err)
		}
		if root := n.Content[0]; root.Tag != "!!null" {
			roots = append(roots, root)
		}
	}
}

// syntaxError puts the line, if the library tells it, where all other errors have it.
func syntaxError(name string, err error) error {
	parts := regexp.MustCompile(`^yaml: (?:line (\d+): )?((did not find expected)?.*)$`).FindStringSubmatch(err.Error())
	if parts == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if line, err := strconv.Atoi(parts[1]); err == nil {
		if parts[3] != "" {
			line++ // of these, which its parser finds and not its scanner, it counts lines from 0
		}
		name = fmt.Sprintf("%s:%d", name, line)
	}
	return fmt.Errorf("%s: not YAML: %s", name, parts[2])
}

// split gives the monitors of a document, and takes its defaults.
func (p *parser) split(root *yaml.Node, defaults **yaml.Node) []*yaml.Node {
	if root.Kind != yaml.MappingNode {
		p.report(root, "", "expected monitors, defaults, or the settings of a monitor")
		return nil
	}
	if lookup(root, "monitors") == nil && lookup(root, "defaults") == nil {
		if lookup(root, "name") == nil && len(root.Content) > 0 {
			p.report(root.Content[0], root.Content[0].Value, "unknown key; expected monitors, defaults, or the settings of a monitor, which has a name")
			return nil
		}
		return []*yaml.Node{root}
	}
	var nodes []*yaml.Node
	for i := 0; i < len(root.Content); i += 2 {
		switch key, value := root.Content[i], root.Content[i+1]; key.Value {
		case "monitors":
			nodes = p.items(value)
		case "defaults":
			p.takeDefaults(key, value, defaults)
		default:
			p.report(key, key.Value, "unknown key; beside monitors and defaults there is none")
		}
	}
	return nodes
}

func (p *parser) items(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode && n.Tag != "!!null" {
		p.report(n, "monitors", "expected a list")
	}
	for _, item := range n.Content {
		if item.Kind != yaml.MappingNode {
			p.report(item, "monitors", "expected the settings of a monitor")
		}
	}
	return n.Content
}

func (p *parser) takeDefaults(key, n *yaml.Node, defaults **yaml.Node) {
	switch {
	case n.Tag == "!!null":
	case n.Kind != yaml.MappingNode:
		p.report(n, "defaults", "expected settings")
	case lookup(n, "name") != nil:
		p.report(lookup(n, "name"), "defaults.name", "each monitor has a name of its own")
	case *defaults != nil:
		p.report(key, "defaults", "they are in line %d already; a file has them once, for all its monitors", (*defaults).Line)
	default:
		*defaults = n
	}
}
