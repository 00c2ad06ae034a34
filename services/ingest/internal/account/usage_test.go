package account

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

func TestPeriods(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		if text == "" {
			return time.Time{}
		}
		when, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		return when
	}
	now := at("2026-03-29T01:30:00Z")
	for _, tt := range []struct {
		from, to    string
		step        Step
		first, last string // "": refused
	}{
		{"", "", Hourly, "2026-03-28T01:00:00Z", "2026-03-29T02:00:00Z"},
		{"", "", Daily, "2026-02-27T00:00:00Z", "2026-03-30T00:00:00Z"},
		{"2026-03-28T00:00:00Z", "2026-03-29T00:00:00Z", Hourly, "2026-03-28T00:00:00Z", "2026-03-29T00:00:00Z"},
		{"2026-03-28T00:00:00Z", "2026-03-29T00:00:00Z", Daily, "2026-03-28T00:00:00Z", "2026-03-29T00:00:00Z"},
		{"2026-03-28T00:00:01Z", "2026-03-28T00:00:02Z", Daily, "2026-03-28T00:00:00Z", "2026-03-29T00:00:00Z"},
		// The hour that clocks leave out in Berlin, and a zone whose hours begin elsewhere: hours and days are UTC's.
		{"2026-03-29T01:59:00+01:00", "2026-03-29T03:01:00+02:00", Hourly, "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"},
		{"2026-03-28T00:00:00+05:45", "2026-03-28T01:00:00+05:45", Hourly, "2026-03-27T18:00:00Z", "2026-03-27T20:00:00Z"},
		{"2026-03-28T00:00:00+05:45", "2026-03-29T00:00:00+05:45", Daily, "2026-03-27T00:00:00Z", "2026-03-29T00:00:00Z"},
		{"2026-01-01T00:00:00Z", "2026-04-03T00:00:00Z", Hourly, "2026-01-01T00:00:00Z", "2026-04-03T00:00:00Z"}, // 92 days
		{"2026-01-01T00:30:00Z", "2026-04-03T00:30:00Z", Hourly, "2026-01-01T00:00:00Z", "2026-04-03T01:00:00Z"}, // as long, beside the hours
		{"2026-01-01T00:00:00Z", "2026-04-03T00:00:01Z", Hourly, "", ""},
		{"2025-01-01T00:00:00Z", "2026-02-05T00:00:00Z", Daily, "2025-01-01T00:00:00Z", "2026-02-05T00:00:00Z"}, // 400 days
		{"2025-01-01T07:00:00Z", "2026-02-05T07:00:00Z", Daily, "2025-01-01T00:00:00Z", "2026-02-06T00:00:00Z"},
		{"2025-01-01T00:00:00Z", "2026-02-05T00:00:01Z", Daily, "", ""},
		{"2026-03-28T00:00:00Z", "2026-03-28T00:00:00Z", Hourly, "", ""},
		{"2026-03-28T00:00:02Z", "2026-03-28T00:00:01Z", Daily, "", ""},
		{"2027-01-01T00:00:00Z", "", Daily, "", ""},
		{"0000-01-01T00:00:00+23:00", "", Daily, "", ""},
		{"9999-12-31T00:00:00Z", "9999-12-31T23:00:00-23:00", Hourly, "", ""},
	} {
		p, err := NewPeriod(at(tt.from), at(tt.to), tt.step, now)
		if tt.first == "" {
			problem, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok, tt)
			require.Equal(t, "from", problem.Field)
			continue
		}
		require.NoError(t, err, tt)
		require.Equal(t, []time.Time{at(tt.first), at(tt.last)}, []time.Time{p.From, p.Until}, tt)
	}
}
