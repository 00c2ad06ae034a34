package cluster

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/section"
)

// Report is what a run showed.
type Report struct {
	Text string // Markdown
	// Broken lists what is not as it should be.
	Broken []string

	cfg       Config
	described string
	outcomes  []*outcome
	accepted  int
	stored    int // events
	missing   int // of deliveries
	pending   int // deliveries that did not end as delivered
	unsigned  int
	incidents int
	slots     int // of monitors that were checked
	late      int // pods that did not end within their grace
}

// Failure is what is not as it should be, nil if nothing.
func (r *Report) Failure() error {
	var errs []error
	for _, what := range r.Broken {
		errs = append(errs, errors.New(what))
	}
	return errors.Join(errs...)
}

// Write puts the text into the documentation: at one place what a version does with itself, at another what two do together.
func (r *Report) Write(root string) error {
	part := "cluster"
	if r.cfg.From != "" {
		part = "upgrade"
	}
	return section.Write(filepath.Join(root, "docs", "cluster.md"), "<!-- "+part+":start (written by make cluster-test) -->", "<!-- "+part+":end -->", r.Text)
}

func (r *Report) broken(bad bool, format string, args ...any) {
	if bad {
		r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
	}
}

// finish judges, and writes the text.
func (r *Report) finish() {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n\n%d events/s of %d tenants, %d monitors every 10 s; what is broken stays so for %s.\n\n", r.described, r.cfg.Rate, tenants, monitors, r.cfg.Broken)
	if r.cfg.From != "" {
		fmt.Fprintf(&text, "The older version is %s.\n\n", r.cfg.From)
	}
	text.WriteString("| what happens | lasts | accepted | tries that failed at first | 202 after, p50 / p99 / max | first attempt after, p50 / p99 / max | all there, once whole | taken twice | slots missed |\n")
	text.WriteString("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, o := range r.outcomes {
		fmt.Fprintf(&text, "| **%s**: %s | %s | %d | %s | %s | %s | %s | %d | %d |\n", o.Name, o.What, o.took.Round(time.Second), len(o.posted), o.failures(),
			spread(o.posted), spread(o.arrivals), o.caughtUp.Round(100*time.Millisecond), o.repeated, o.missed)
		r.broken(o.missing > 0, "%s: %d deliveries of accepted events are missing", o.Name, o.missing)
		r.broken(o.gaveUp > 0, "%s: %d requests were never accepted, however often they were repeated", o.Name, o.gaveUp)
		r.broken(o.repeated > 0 && o.Repeats == "", "%s: %d deliveries were taken twice", o.Name, o.repeated)
	}
	fmt.Fprintf(&text, "\nOf %d accepted events, %d deliveries are missing; %d requests had a wrong signature. %d slots of monitors were checked, and %d incidents opened for targets that were well.\n",
		r.accepted, r.missing, r.unsigned, r.slots, r.incidents)
	r.broken(r.missing > 0, "%d deliveries are missing in the end", r.missing)
	r.broken(r.pending > 0, "%d deliveries have not ended as delivered", r.pending)
	r.broken(r.stored != r.accepted, "%d events were accepted, %d are stored: a repeated request made a second event, or one was lost", r.accepted, r.stored)
	r.broken(r.unsigned > 0, "%d requests had a wrong signature", r.unsigned)
	r.broken(r.incidents > 0, "%d incidents opened for targets that were well", r.incidents)
	r.broken(r.late > 0, "%d pods did not end within their grace", r.late)
	r.Text = text.String()
}

// failures lists what tries failed with.
func (w *window) failures() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(w.failed)) {
		parts = append(parts, fmt.Sprintf("%d %s", w.failed[what], what))
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, ", ")
}

// spread is the median, the 99th percentile and the maximum.
func spread(list []time.Duration) string {
	if len(list) == 0 {
		return "—"
	}
	sorted := slices.Sorted(slices.Values(list))
	at := func(q float64) time.Duration { return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))] }
	text := make([]string, 0, 3)
	for _, d := range []time.Duration{at(.5), at(.99), sorted[len(sorted)-1]} {
		text = append(text, short(d))
	}
	return strings.Join(text, " / ")
}

// short has about three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
