package endpoint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Filter lists event types an endpoint wants. Empty: all. Each entry is an event type, a prefix such as order.* (every type below order,
// at any depth, but not order itself), or * for all.
type Filter []string

var patternSyntax = regexp.MustCompile(`^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$`)

// Matches says whether the filter lets eventType through.
func (f Filter) Matches(eventType string) bool {
	return len(f) == 0 || slices.ContainsFunc(f, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if wild {
			return strings.HasPrefix(eventType, prefix)
		}
		return pattern == eventType
	})
}

func (f Filter) check() string {
	if len(f) > maxPatterns {
		return "Expected at most 100 entries."
	}
	for i, pattern := range f {
		if len(pattern) > 200 || !patternSyntax.MatchString(pattern) {
			return fmt.Sprintf("Entry %d: expected an event type such as order.paid, a prefix such as order.*, or *.", i)
		}
		if slices.Contains(f[:i], pattern) {
			return fmt.Sprintf("Entry %d repeats %q.", i, pattern)
		}
	}
	return ""
}
