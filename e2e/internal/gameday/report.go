package gameday

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
	"github.com/beaconpost/beaconpost/e2e/internal/section"
)

// Report is what a game day showed.
type Report struct {
	Text string // Markdown
	// Broken lists what is not as it should be.
	Broken []string
}

const (
	listed     = 6 // panels beside an alert
	docsFile   = "docs/observability.md"
	beginsHere = "<!-- game-day:start (written by make game-day) -->"
	endsHere   = "<!-- game-day:end -->"
)

// Failure is what is not as it should be, nil if nothing.
func (r *Report) Failure() error {
	var errs []error
	for _, what := range r.Broken {
		errs = append(errs, errors.New(what))
	}
	return errors.Join(errs...)
}

// Write puts the text into the documentation.
func (r *Report) Write(root string) error {
	return section.Write(filepath.Join(root, docsFile), beginsHere, endsHere, r.Text)
}

func (r *Report) broken(format string, args ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
}

// writer makes a report.
type writer struct {
	*Report
	*recorded
	root   string
	boards []observe.Dashboard
	text   strings.Builder
}

func report(ctx context.Context, server *observe.Server, root string, day *Day) (*Report, error) {
	boards, err := observe.Dashboards(root)
	if err != nil {
		return nil, err
	}
	w := &writer{Report: &Report{}, recorded: &recorded{server, day}, root: root, boards: boards}
	w.printf("%s\n", day.Described)
	if day.Hasten > 1 {
		w.printf("\n**Smoke run: what alerts wait for is divided by %d.**\n", day.Hasten)
	}
	if err := w.calm(ctx); err != nil {
		return nil, err
	}
	w.printf("\n| fault | alert | pending after | fires after | ends after healing | panels that show it |\n| --- | --- | ---: | ---: | ---: | --- |\n")
	for i := range day.Episodes {
		if err := w.episode(ctx, i); err != nil {
			return nil, err
		}
	}
	if err := w.others(ctx); err != nil {
		return nil, err
	}
	w.Text = w.text.String()
	return w.Report, nil
}

func (w *writer) printf(format string, args ...any) { fmt.Fprintf(&w.text, format, args...) }

// strict says that an alert which nobody expects means something: with times of their own, not with divided ones.
func (w *writer) strict() bool { return w.day.Hasten == 1 }

// calm notes what fired before anything was broken.
func (w *writer) calm(ctx context.Context) error {
	if len(w.day.Episodes) == 0 {
		return errors.New("nothing was broken")
	}
	list, err := w.spells(ctx, w.day.Started, w.day.Episodes[0].Injected)
	for _, s := range list {
		if w.strict() && !s.fires.IsZero() {
			w.broken("%s fires although nothing is broken", s.alert)
		}
	}
	return err
}

// next is when the next fault was injected, or the end.
func (w *writer) next(i int) time.Time {
	if i+1 < len(w.day.Episodes) {
		return w.day.Episodes[i+1].Injected
	}
	return w.day.Ended
}

// episode writes the rows of a fault: one for each alert, one if there is none.
func (w *writer) episode(ctx context.Context, i int) error {
	e := &w.day.Episodes[i]
	list, err := w.spells(ctx, e.Injected, w.next(i))
	if err != nil {
		return err
	}
	showing, err := w.panels(ctx, w.boards, e)
	if err != nil {
		return err
	}
	w.judge(e, list)
	name := fmt.Sprintf("**%s**: %s, for %s", e.Fault.Name, e.Fault.What, w.round(e.Healed.Sub(e.Injected)))
	if e.Fault.Note != "" {
		name += ". " + e.Fault.Note
	}
	for n, s := range list {
		named, err := w.named(e, s, showing, n == 0)
		if err != nil {
			return err
		}
		w.printf("| %s | %s | %s | %s | %s | %s |\n", name, strings.TrimPrefix(s.alert, "Beaconpost"), w.after(e.Injected, s.since), w.after(e.Injected, s.fires), w.end(e, s), named)
		name = ""
	}
	for _, panel := range e.Fault.Shows {
		if !contains(showing, panel) {
			w.broken("%s: %s does not show it", e.Fault.Name, panel)
		}
	}
	if len(list) == 0 {
		w.printf("| %s | none | | | | %s |\n", name, panelList(nil, showing))
	}
	return nil
}

// judge compares what fired with what should.
func (w *writer) judge(e *Episode, list []spell) {
	of := map[string]spell{}
	for _, s := range list {
		of[s.alert] = s
		expected := slices.Contains(slices.Concat(e.Fault.Alerts, e.Fault.Waits, e.Fault.May), s.alert)
		switch {
		case s.fires.IsZero(), !expected && !w.strict():
		case !expected:
			w.broken("%s: %s fires", e.Fault.Name, s.alert)
		case w.lasts(s):
			if !slices.Contains(e.Fault.Linger, s.alert) {
				w.broken("%s: %s does not end", e.Fault.Name, s.alert)
			}
		}
	}
	for _, alert := range e.Fault.Alerts {
		if of[alert].fires.IsZero() {
			w.broken("%s: %s does not fire", e.Fault.Name, alert)
		}
	}
	for _, alert := range e.Fault.Waits {
		if of[alert].since.IsZero() {
			w.broken("%s: %s is not pending", e.Fault.Name, alert)
		}
	}
}

// named gives the panels that show it: those that the alert's runbook names, of which there has to be one if it fires, and, if all are wanted, the others.
func (w *writer) named(e *Episode, s spell, showing []moved, all bool) (string, error) {
	runbook, err := observe.RunbookPanels(w.root, s.alert)
	if err != nil {
		return "", err
	}
	var found []observe.Place
	for _, place := range runbook {
		if contains(showing, place.String()) {
			found = append(found, place)
		}
	}
	if len(found) == 0 && !s.fires.IsZero() && (w.strict() || slices.Contains(e.Fault.Alerts, s.alert)) {
		w.broken("%s: no panel that the runbook of %s names shows it", e.Fault.Name, s.alert)
	}
	if !all {
		showing = nil
	}
	return panelList(found, showing), nil
}

func contains(list []moved, place string) bool {
	return slices.ContainsFunc(list, func(m moved) bool { return m.place.String() == place })
}

// panelList has those of a runbook in bold, and then what moves most.
func panelList(runbook []observe.Place, showing []moved) string {
	var names []string
	for _, place := range runbook {
		names = append(names, "**"+place.String()+"**")
	}
	rest := 0
	for _, m := range showing {
		switch {
		case slices.Contains(runbook, m.place):
		case len(names) < listed:
			names = append(names, m.place.String())
		default:
			rest++
		}
	}
	text := strings.Join(names, ", ")
	if rest > 0 {
		text += fmt.Sprintf(", and %d more", rest)
	}
	return text
}

func seconds(window [2]time.Time) int { return int(window[1].Sub(window[0]).Seconds()) }

func (w *writer) round(d time.Duration) time.Duration { return d.Round(time.Second) }

func (w *writer) after(from, at time.Time) string {
	if at.IsZero() {
		return "—"
	}
	return w.round(at.Sub(from)).String()
}

// end says how long after healing an alert ended; it may have before.
func (w *writer) end(e *Episode, s spell) string {
	switch {
	case s.fires.IsZero():
		return "—"
	case w.lasts(s):
		return "fires still, " + w.round(w.day.Ended.Sub(e.Healed)).String() + " later"
	case s.until.Before(e.Healed):
		return "before"
	}
	return w.round(s.until.Add(w.day.Interval).Sub(e.Healed)).String()
}

const (
	arrival = `histogram_quantile(%g, sum by (le) (increase(gameday_arrival_latency_seconds_bucket{tenants="steady"}[%ds]))) * 1000`
	refused = `sum(increase(gameday_posted_total{result="refused"}[%ds]))`
)

// others writes what the tenants with the steady load noticed.
func (w *writer) others(ctx context.Context) error {
	w.printf("\nFrom acceptance to arrival at the endpoints of the tenants with the steady load, median and p99 in milliseconds, and how many requests of all producers were not answered 202:\n")
	w.printf("\n| fault | before | during | after healing, for as long as before | not 202 |\n| --- | ---: | ---: | ---: | ---: |\n")
	for i := range w.day.Episodes {
		e := &w.day.Episodes[i]
		w.printf("| %s |", e.Fault.Name)
		for _, window := range [][2]time.Time{{e.Injected.Add(-w.day.Calm), e.Injected}, {e.Injected, e.Healed}, {e.Healed, e.Healed.Add(w.day.Calm)}} {
			var quantiles [2]float64
			for n, q := range []float64{.5, .99} {
				var err error
				if quantiles[n], err = w.at(ctx, fmt.Sprintf(arrival, q, seconds(window)), window[1]); err != nil {
					return err
				}
			}
			if math.IsNaN(quantiles[0]) {
				w.printf(" none arrive |")
			} else {
				w.printf(" %.0f, %.0f |", quantiles[0], quantiles[1])
			}
		}
		window := [2]time.Time{e.Injected, e.Healed.Add(w.day.Interval)}
		n, err := w.at(ctx, fmt.Sprintf(refused, seconds(window)), window[1])
		if err != nil {
			return err
		}
		w.printf(" %.0f |\n", n)
	}
	w.printf("\nOf %d accepted events of the tenants without a flood, %d never arrived.\n", w.day.Accepted, w.day.Missing)
	if w.day.Missing > 0 {
		w.broken("%d accepted events never arrived", w.day.Missing)
	}
	return nil
}
