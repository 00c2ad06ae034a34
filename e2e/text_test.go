package e2e

import (
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// gauge finds a series without labels in Prometheus' text format.
func gauge(metrics, name string) string {
	for line := range strings.SplitSeq(metrics, "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return value
		}
	}
	return ""
}
