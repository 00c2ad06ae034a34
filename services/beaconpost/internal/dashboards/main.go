// Command dashboards writes Grafana's dashboards into deploy/k8s/observability/dashboards. It is run by `make generate`, in the directory of
// services/beaconpost. What they show is in the files beside this one.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

const directory = "../../deploy/k8s/observability/dashboards"

func main() {
	for _, d := range []dashboard{overview(), ingest(), delivery(), monitor(), nats(), postgres()} {
		if err := write(d); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "dashboards:", err)
			os.Exit(1)
		}
	}
}

func write(d dashboard) error {
	text, err := json.MarshalIndent(d.model(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", d.name, err)
	}
	file := filepath.Join(directory, d.name+".json")
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil { //nolint:gosec // for everybody
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
