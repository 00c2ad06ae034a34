package bench

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Report is a table of results, each beside the baseline of the same run.
type Report struct {
	out io.Writer
	// Broken lists what must not happen at any speed.
	Broken []string
}

// heading begins a table.
func (r *Report) heading(title string) {
	fmt.Fprintf(r.out, "\n### %s\n\n| result | value | baseline of the same run | ratio | aim |\n| --- | ---: | --- | ---: | --- |\n", title)
}

const unitCPU = "s/1,000"

// figure is a result.
type figure struct {
	name     string
	value    float64
	unit     string // "/s", "ms", "µs", "MiB", "B", ""
	baseline float64
	of       string // what the baseline is; "" if there is none
	aim      string // "" if there is none
	met      bool
}

func (r *Report) add(f figure) {
	aim := f.aim
	if aim != "" {
		aim += map[bool]string{true: ": met", false: ": **not met**"}[f.met]
	}
	base, ratio := "", ""
	if f.of != "" {
		base, ratio = f.of+" "+number(f.baseline, f.unit), "—"
		if f.baseline > 0 {
			ratio = strconv.FormatFloat(f.value/f.baseline, 'f', 2, 64)
		}
	}
	fmt.Fprintf(r.out, "| %s | %s | %s | %s | %s |\n", f.name, number(f.value, f.unit), base, ratio, aim)
}

func number(v float64, unit string) string {
	digits := 0
	if (v != float64(int64(v))) && v < 100 {
		digits = 1
	}
	if v < 1 && v > 0 {
		digits = 2
	}
	if unit == unitCPU {
		digits = 4
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	for i := len(strings.SplitN(text, ".", 2)[0]) - 3; i > 0 && v >= 10000; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if unit == "/s" {
		return text + "/s"
	}
	return strings.TrimSpace(text + " " + unit)
}

func (r *Report) note(format string, args ...any) {
	fmt.Fprintf(r.out, "\n"+format+"\n", args...)
}

// broken notes something that must not happen.
func (r *Report) broken(format string, args ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
}

// refusals notes requests that were not accepted: at no measured load may there be any.
func (r *Report) refusals(p *pass) {
	if len(p.Refused) > 0 {
		r.broken("requests were refused: %v", p.Refused)
	}
}

// failure is what was broken, nil if nothing was.
func (r *Report) failure() error {
	var errs []error
	for _, what := range r.Broken {
		errs = append(errs, errors.New(what))
	}
	return errors.Join(errs...)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// perThousand is CPU time in milliseconds per thousand events, which is microseconds per event.
func perThousand(d time.Duration, events int64) float64 {
	if events == 0 {
		return 0
	}
	return float64(d.Microseconds()) / float64(events)
}
