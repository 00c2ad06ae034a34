package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

func (l *loader) refuseUnknown(own, alsoKnown []string) {
	known := append(slices.Clone(own), alsoKnown...)
	unknown := make([]string, 0, len(l.vars))
	for name, value := range l.vars {
		if !isKnown(name, known) && !strings.HasPrefix(name, testPrefix) && !isServiceLink(name, value) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		message := "is not a known variable"
		if guess := nearest(name, known); guess != "" {
			message += fmt.Sprintf(", did you mean %s?", guess)
		}
		l.report(name, message)
	}
}

func isKnown(name string, known []string) bool {
	return slices.ContainsFunc(known, func(k string) bool {
		if start, pattern := strings.CutSuffix(k, "*"); pattern {
			return strings.HasPrefix(name, start)
		}
		return k == name
	})
}

// isServiceLink recognises what Kubernetes puts into every pod for a Service such as beaconpost-ingest.
func isServiceLink(name, value string) bool {
	links := regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
	addresses := regexp.MustCompile(`^(tcp|udp|sctp)://`)
	return links.MatchString(name) || strings.HasSuffix(name, "_PORT") && addresses.MatchString(value)
}

// nearest gives the known name that takes the fewest edits, or "" if even that is far from name.
func nearest(name string, known []string) string {
	best, fewest := "", 1+max(2, (len(name)-len(Prefix))/3)
	for _, k := range known {
		if d := distance(name, k); d < fewest && !strings.HasSuffix(k, "*") {
			best, fewest = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions and substitutions between a and b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
