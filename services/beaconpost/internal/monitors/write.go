package monitors

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// writeYAML writes monitors as a file that apply takes.
func writeYAML(w io.Writer, stored []document) error {
	list := make([]any, len(stored))
	for i, d := range stored {
		list[i] = map[string]any(d.settings())
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	err := encoder.Encode(node(map[string]any{"monitors": list}))
	if err != nil {
		return fmt.Errorf("write monitors: %w", err)
	}
	return encoder.Close()
}

// node gives YAML's counterpart of a JSON value.
func node(value any) *yaml.Node {
	n := &yaml.Node{}
	switch value := value.(type) {
	case map[string]any:
		n.Kind = yaml.MappingNode
		for _, key := range slices.SortedFunc(maps.Keys(value), byRank) {
			n.Content = append(n.Content, node(key), node(value[key]))
		}
	case []any:
		n.Kind = yaml.SequenceNode
		for _, item := range value {
			n.Content = append(n.Content, node(item))
		}
	case json.Number:
		n.Kind, n.Value = yaml.ScalarNode, value.String()
	case string:
		return textNode(value)
	default:
		_ = n.Encode(value) // a bool or nil always can be
	}
	return n
}

// textNode leaves the form of a text to the library only where that is known to be read as the same again.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.DoubleQuotedStyle}
	lines := strings.Split(text, "\n")
	for _, line := range lines {
		if strings.TrimSpace(line) != line || printable(line) != line {
			return n
		}
	}
	if len(lines) > 1 && lines[0] != "" { // such as a certificate
		n.Style = yaml.LiteralStyle
	}
	if len(lines) == 1 {
		_ = n.Encode(text)
	}
	return n
}

// byRank puts first what says which monitor it is, then goes by name.
func byRank(a, b string) int {
	first := []string{"name", "kind", "url", "host", "port"}
	rank := func(key string) int {
		if i := slices.Index(first, key); i >= 0 {
			return i
		}
		return len(first)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func writeJSON(w io.Writer, stored []document) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, d := range stored {
		if err := encoder.Encode(d); err != nil {
			return fmt.Errorf("write monitors: %w", err)
		}
	}
	return nil
}

func writeTable(w io.Writer, stored []document) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tKIND\tSTATUS\tSINCE\tTARGET")
	for _, d := range stored {
		for _, key := range []string{"name", "kind", "status", "since"} {
			fmt.Fprint(table, shown(d.text(key)), "\t")
		}
		fmt.Fprintln(table, printable(target(d)))
	}
	return table.Flush()
}
