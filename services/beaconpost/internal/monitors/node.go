package monitors

import (
	"encoding/json"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fromEnv is the only key of an object that stands for a variable's value.
const fromEnv = "$env"

// check finds what YAML permits and these files do not. What comes after relies on it.
func (p *parser) check(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		p.checkKeys(n, path)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			p.check(item, join(path, strconv.Itoa(i)))
		}
	case yaml.AliasNode:
		p.report(n, path, "aliases are not followed; put what monitors share under defaults")
		return
	}
	if tag := n.ShortTag(); !strings.HasPrefix(tag, "!!") || tag == "!!binary" {
		p.report(n, path, "unknown tag %s", tag)
	}
}

func (p *parser) checkKeys(n *yaml.Node, path string) {
	lines := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		switch name := key.Value; {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!null":
			p.report(key, path, "expected a name as key")
		case key.Tag == "!!merge":
			p.report(key, join(path, name), "merge keys are not followed; put what monitors share under defaults")
		case lines[name] > 0:
			p.report(key, join(path, name), "the key is in line %d already", lines[name])
		default:
			lines[name] = key.Line
			p.check(n.Content[i+1], join(path, name))
		}
	}
}

func join(path, name string) string {
	return strings.TrimPrefix(path+"."+name, ".")
}

// lookup gives the value of a key, nil if there is none.
func lookup(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// merged puts base under over, as the API's merge patch does (RFC 7396): objects are merged, lists replaced, null takes out.
func merged(base, over *yaml.Node) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: over.Line}
	add := func(key, under, value *yaml.Node) {
		if isObject(value) {
			value = merged(under, value)
		}
		if value.Tag != "!!null" {
			m.Content = append(m.Content, key, value)
		}
	}
	for i := 0; base != nil && i < len(base.Content); i += 2 {
		if key := base.Content[i]; lookup(over, key.Value) == nil {
			add(key, nil, base.Content[i+1])
		}
	}
	for i := 0; i < len(over.Content); i += 2 {
		key, under := over.Content[i], lookup(base, over.Content[i].Value)
		if under != nil && !isObject(under) {
			under = nil
		}
		add(key, under, over.Content[i+1])
	}
	return m
}

func isObject(n *yaml.Node) bool { return n.Kind == yaml.MappingNode && lookup(n, fromEnv) == nil }

// declare adds a monitor.
func (p *parser) declare(n *yaml.Node) {
	name := lookup(n, "name")
	if name == nil || name.Tag != "!!str" || name.Value == "" {
		p.report(n, "name", "expected text: a monitor has a name")
		return
	}
	d := &declared{name: name.Value, file: p.file, line: n.Line, body: document{}, lines: map[string]int{}, secrets: map[string]string{}}
	d.body = p.object(d, n, "")
	if first, taken := p.first[d.name]; taken {
		p.report(name, "name", "%q is in %s:%d already", d.name, first.file, first.lines["name"])
		return
	}
	p.first[d.name] = d
	p.monitors = append(p.monitors, d)
}

func (p *parser) object(d *declared, n *yaml.Node, path string) map[string]any {
	object := map[string]any{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field := join(path, key.Value)
		d.lines[field] = key.Line
		object[key.Value] = p.value(d, value, field)
	}
	return object
}

func (p *parser) value(d *declared, n *yaml.Node, path string) any {
	switch n.Kind {
	case yaml.MappingNode:
		if variable := lookup(n, fromEnv); variable != nil {
			return p.variable(d, n, variable, path)
		}
		return p.object(d, n, path)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			field := join(path, strconv.Itoa(i))
			d.lines[field] = item.Line
			list[i] = p.value(d, item, field)
		}
		return list
	default:
		return p.scalar(n, path)
	}
}

// variable gives a variable's value. An empty one is a mistake as well as a missing one.
func (p *parser) variable(d *declared, n, variable *yaml.Node, path string) any {
	if len(n.Content) > 2 || variable.Tag != "!!str" {
		p.report(n, path, "expected {%s: NAME}, and nothing beside it", fromEnv)
		return nil
	}
	value, _ := p.lookup(variable.Value)
	if value == "" {
		p.report(variable, path, "the environment has no %s", variable.Value)
		return nil
	}
	d.secrets[path] = value
	return value
}

// scalar gives JSON's counterpart; what YAML takes for a time is text.
func (p *parser) scalar(n *yaml.Node, path string) any {
	var value any
	switch n.Tag {
	case "!!null":
		return nil
	case "!!int", "!!float", "!!bool":
	default:
		return n.Value
	}
	err := n.Decode(&value)
	if on, ok := value.(bool); ok && err == nil {
		return on
	}
	text, notFinite := json.Marshal(value)
	if err != nil || notFinite != nil {
		p.report(n, path, "expected a number, got %s", n.Value)
		return nil
	}
	return json.Number(text)
}
