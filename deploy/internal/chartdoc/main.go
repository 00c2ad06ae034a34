// Command chartdoc writes the table of values into the chart's README, between the markers "values:start" and "values:end", from the comments of values.yaml,
// and the names of variables into values.schema.json, from the Config structs of the services. It is run by `make generate`, in the directory deploy.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

const (
	directory = "k8s/beaconpost"
	start     = "<!-- values:start (written by make generate) -->\n"
	end       = "<!-- values:end -->\n"
)

func main() {
	if err := errors.Join(document(), variables()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "chartdoc:", err)
		os.Exit(1)
	}
}

// document writes the README's table.
func document() error {
	text, err := os.ReadFile(filepath.Join(directory, "values.yaml"))
	if err != nil {
		return err
	}
	var file yaml.Node
	if err := yaml.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("read values: %w", err)
	}
	var table strings.Builder
	table.WriteString("| value | default | meaning |\n| --- | --- | --- |\n")
	if err := rows(&table, "", file.Content[0]); err != nil {
		return err
	}
	return rewrite(filepath.Join(directory, "README.md"), func(old []byte) ([]byte, error) {
		before, rest, ok := bytes.Cut(old, []byte(start))
		_, after, closed := bytes.Cut(rest, []byte(end))
		if !ok || !closed {
			return nil, fmt.Errorf("there are no markers %q and %q", start, end)
		}
		return slices.Concat(before, []byte(start), []byte(table.String()), []byte(end), after), nil
	})
}

// rows describes the keys of a mapping. One whose keys have no comments is a value: its own comment says what may be in it.
func rows(table *strings.Builder, prefix string, mapping *yaml.Node) error {
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		name, comment := prefix+key.Value, comment(key)
		if comment == "" {
			return fmt.Errorf("values.yaml:%d: %s has no comment", key.Line, name)
		}
		if value.Kind == yaml.MappingNode && described(value) {
			fmt.Fprintf(table, "| **`%s`** | | %s |\n", name, comment)
			if err := rows(table, name+".", value); err != nil {
				return err
			}
			continue
		}
		text, err := plain(value)
		if err != nil {
			return fmt.Errorf("values.yaml:%d: %w", value.Line, err)
		}
		fmt.Fprintf(table, "| `%s` | `%s` | %s |\n", name, text, comment)
	}
	return nil
}

func described(mapping *yaml.Node) bool {
	return slices.ContainsFunc(mapping.Content, func(n *yaml.Node) bool { return comment(n) != "" })
}

// comment gives what is right above a key; an empty line ends it.
func comment(key *yaml.Node) string {
	text := key.HeadComment
	if i := strings.LastIndex(text, "\n\n"); i >= 0 {
		text = text[i+2:]
	}
	var words []string
	for line := range strings.SplitSeq(text, "\n") {
		words = append(words, strings.TrimSpace(strings.TrimPrefix(line, "#")))
	}
	return strings.ReplaceAll(strings.TrimSpace(strings.Join(words, " ")), "|", `\|`)
}

// plain gives a value as JSON, which is YAML on one line.
func plain(value *yaml.Node) (string, error) {
	var v any
	if err := value.Decode(&v); err != nil {
		return "", err
	}
	if text, ok := v.(string); ok && text != "" {
		return text, nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return strings.TrimSpace(b.String()), err
}

// variables writes the names that config and secret.optional may have.
func variables() error {
	// What the chart says itself, so that nobody says something else.
	mine := []string{
		"BEACONPOST_LISTEN", "BEACONPOST_ADMIN_LISTEN", "BEACONPOST_SHUTDOWN_GRACE", "BEACONPOST_MONITOR_REGION", "BEACONPOST_DATABASE_URL", "BEACONPOST_NATS_URL",
		"BEACONPOST_SECRETS_KEYS", "BEACONPOST_AUTH_JWKS", "BEACONPOST_AUTH_ISSUER", "BEACONPOST_AUTH_AUDIENCE",
	}
	var open, secret []string
	for _, cfg := range []any{ingest.Config{}, delivery.Config{}, monitor.Config{}} {
		for _, v := range config.Describe(cfg) {
			switch {
			case slices.Contains(mine, v.Name):
			case v.Type == "secret":
				secret = append(secret, v.Name)
			default:
				open = append(open, v.Name)
			}
		}
	}
	return rewrite(filepath.Join(directory, "values.schema.json"), func(old []byte) ([]byte, error) {
		text, err := enumerate(old, "configVariable", open)
		if err != nil {
			return nil, err
		}
		return enumerate(text, "secretVariable", secret)
	})
}

// enumerate replaces the list of a definition, which is one line.
func enumerate(schema []byte, definition string, names []string) ([]byte, error) {
	slices.Sort(names)
	list, err := json.Marshal(slices.Compact(names))
	if err != nil {
		return nil, err
	}
	line := regexp.MustCompile(`(?m)^(\s+"` + definition + `": \{"enum": )\[.*?\](\},?)$`)
	if !line.Match(schema) {
		return nil, fmt.Errorf("there is no definition of %s on one line", definition)
	}
	return line.ReplaceAll(schema, slices.Concat([]byte("${1}"), bytes.ReplaceAll(list, []byte(","), []byte(", ")), []byte("${2}"))), nil
}

func rewrite(file string, change func([]byte) ([]byte, error)) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := change(old)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, text, 0o644) //nolint:gosec // for everybody
}
