// Command dashboards writes Grafana's dashboards into deploy/k8s/observability/dashboards, and a copy of the alerts for the single binary. It is run by `make generate`, in the directory of
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
	if err := run(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run() error {
	boards := []dashboard{overview(), ingest(), delivery(), monitor(), nats(), postgres()}
	known, err := locate(boards)
	if err != nil {
		return err
	}
	for _, d := range boards {
		if err := write(d, known); err != nil {
			return err
		}
	}
	return copyAlerts()
}

// copyAlerts puts the alerts where the single binary can embed them.
func copyAlerts() error {
	text, err := os.ReadFile("../../deploy/k8s/observability/alerts.yaml")
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	if err := os.WriteFile("internal/up/alerts.yaml", text, 0o644); err != nil { //nolint:gosec // for everybody
		return fmt.Errorf("copy alerts: %w", err)
	}
	return nil
}

func write(d dashboard, known places) error {
	text, err := json.MarshalIndent(d.model(known), "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", d.name, err)
	}
	file := filepath.Join(directory, d.name+".json")
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil { //nolint:gosec // for everybody
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
