// Command configdoc writes the tables of configuration variables into the services' READMEs, between the markers "config:start" and
// "config:end", from the tags of their Config structs. It is run by `make generate`, in the directory of services/beaconpost.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

const (
	start = "<!-- config:start (written by make generate) -->\n"
	end   = "<!-- config:end -->\n"
)

func main() {
	for file, cfg := range map[string]any{
		"../ingest/README.md":   ingest.Config{},
		"../delivery/README.md": delivery.Config{},
		"../monitor/README.md":  monitor.Config{},
	} {
		if err := rewrite(file, table(cfg)); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "configdoc:", err)
			os.Exit(1)
		}
	}
}

func table(cfg any) string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n| --- | --- | --- |\n")
	for _, v := range config.Describe(cfg) {
		value := "`" + v.Default + "`"
		switch {
		case v.Required:
			value = "required"
		case v.Default == "":
			value = ""
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, value, strings.ReplaceAll(v.Doc, "|", "\\|"))
	}
	return b.String()
}

func rewrite(file, table string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	before, rest, ok := bytes.Cut(old, []byte(start))
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		return fmt.Errorf("%s has no markers %q and %q", file, start, end)
	}
	text := string(before) + start + table + end + string(after)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // a README is for everybody
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
