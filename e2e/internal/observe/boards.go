package observe

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Dir is where rules and dashboards are in the repository.
const Dir = "deploy/k8s/observability"

// Rule is one alert.
type Rule struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

// Rules reads all alerts.
func Rules(root string) (list []Rule, err error) {
	text, err := os.ReadFile(filepath.Join(root, Dir, "alerts.yaml"))
	if err != nil {
		return nil, err
	}
	var file struct {
		Groups []struct{ Rules []Rule }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	for _, group := range file.Groups {
		list = append(list, group.Rules...)
	}
	return list, nil
}

var holdTime = regexp.MustCompile(`(?m)^(\s+for: )(\S+)$`)

// Hasten writes the rules to a file with all their `for` divided.
func Hasten(root, file string, by int) error {
	text, err := os.ReadFile(filepath.Join(root, Dir, "alerts.yaml"))
	if err != nil {
		return err
	}
	var failed error
	hastened := holdTime.ReplaceAllStringFunc(string(text), func(line string) string {
		found := holdTime.FindStringSubmatch(line)
		d, err := time.ParseDuration(found[2])
		if err != nil {
			failed = err
		}
		return fmt.Sprintf("%s%dms", found[1], (d / time.Duration(by)).Milliseconds())
	})
	if failed != nil {
		return failed
	}
	return os.WriteFile(file, []byte(hastened), 0o600)
}

// Dashboard is one of Grafana's, as far as it is looked at here.
type Dashboard struct {
	Name                    string `json:"-"` // of its file
	UID, Title, Description string
	Panels                  []Panel // those of rows that are folded among them
	Templating              struct{ List []Variable }
}

// Panel is one of a dashboard.
type Panel struct {
	ID                       int
	Type, Title, Description string
	Links                    []Link
	Targets                  []Target
	Datasource               struct{ UID string }
	Panels                   []Panel // of a row that is folded
	FieldConfig              struct {
		Defaults struct {
			Unit  string
			Links []Link
		}
	}
}

// Target is a query of a panel.
type Target struct {
	Expr     string
	Exemplar bool
}

// Link leads from a panel or a series elsewhere.
type Link struct{ Title, URL string }

// Variable is one of a dashboard's. Query is the kind, of a data source, and an object of others.
type Variable struct {
	Name, Type string
	Query      any
}

// IsRow says that it is a heading and shows nothing.
func (p Panel) IsRow() bool { return p.Type == "row" }

// Queries are what it asks, with the variables as Grafana fills them in for everything.
func (p Panel) Queries() (list []string) {
	fill := strings.NewReplacer("$__rate_interval", "30s", "$__range", "5m", "$namespace", ".*", "$instance", ".*")
	for _, target := range p.Targets {
		list = append(list, fill.Replace(target.Expr))
	}
	return list
}

// Dashboards reads all of them.
func Dashboards(root string) (list []Dashboard, err error) {
	files, err := filepath.Glob(filepath.Join(root, Dir, "dashboards/*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := Dashboard{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, err
		}
		for _, row := range slices.Clone(d.Panels) {
			d.Panels = append(d.Panels, row.Panels...)
		}
		list = append(list, d)
	}
	return list, nil
}

// Place is where a panel is: its dashboard's name and its title.
type Place struct{ Dashboard, Panel string }

func (p Place) String() string { return p.Dashboard + ": " + p.Panel }

var (
	runbookLine  = regexp.MustCompile(`(?m)^- Dashboard ([a-z]+): (.*)$`)
	runbookPanel = regexp.MustCompile(`\*([^*]+)\*`)
)

// RunbookPanels are the panels that an alert's runbook sends its reader to.
func RunbookPanels(root, alert string) (list []Place, err error) {
	text, err := os.ReadFile(filepath.Join(root, "docs/runbooks", strings.TrimPrefix(alert, "Beaconpost")+".md"))
	if err != nil {
		return nil, err
	}
	for _, line := range runbookLine.FindAllStringSubmatch(string(text), -1) {
		for _, panel := range runbookPanel.FindAllStringSubmatch(line[2], -1) {
			list = append(list, Place{line[1], panel[1]})
		}
	}
	return list, nil
}
