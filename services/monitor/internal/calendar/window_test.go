package calendar_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
)

func utc(t require.TestingT, text string) time.Time {
	at, err := time.Parse("2006-01-02 15:04", text)
	require.NoError(t, err)
	return at
}

const (
	berlin  = "Europe/Berlin"    // forward on 29 March 2026 at 02:00, back on 25 October at 03:00
	newYork = "America/New_York" // forward on 8 March 2026 at 02:00, back on 1 November at 02:00
)

// When occurrences begin within two days (UTC), all of two hours.
func TestWindowsWhenTheClockIsMoved(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		zone, rule, start, from string
		want                    []string
	}{
		{berlin, "FREQ=DAILY", "02:30", "2026-03-28", []string{"2026-03-28 01:30", "2026-03-29 01:30", "2026-03-30 00:30"}}, // 03:30 on the 29th
		{berlin, "30 2 * * *", "", "2026-03-28", []string{"2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"}},      // 03:00 on the 29th
		{berlin, "0,30 2,3 * * *", "", "2026-03-29", []string{"2026-03-29 01:00", "2026-03-29 01:30", "2026-03-30 00:00", "2026-03-30 00:30", "2026-03-30 01:00", "2026-03-30 01:30"}},
		{berlin, "30 * * * *", "", "2026-03-29", nil},
		{berlin, "FREQ=DAILY", "02:30", "2026-10-24", []string{"2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"}}, // the first of two
		{berlin, "30 2 * * *", "", "2026-10-24", []string{"2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"}},
		{berlin, "FREQ=WEEKLY;BYDAY=SU", "03:00", "2026-10-24", []string{"2026-10-25 02:00"}},
		{newYork, "FREQ=DAILY", "02:30", "2026-03-07", []string{"2026-03-07 07:30", "2026-03-08 07:30", "2026-03-09 06:30"}},
		{newYork, "30 2 * * *", "", "2026-03-07", []string{"2026-03-07 07:30", "2026-03-08 07:00", "2026-03-09 06:30"}},
		{newYork, "FREQ=DAILY", "01:30", "2026-10-31", []string{"2026-10-31 05:30", "2026-11-01 05:30", "2026-11-02 06:30"}},
		{newYork, "30 1 * * *", "", "2026-10-31", []string{"2026-10-31 05:30", "2026-11-01 05:30", "2026-11-02 06:30"}},
		{newYork, "FREQ=MONTHLY;BYDAY=1SU", "01:59", "2026-10-31", []string{"2026-11-01 05:59"}},
		{"", "FREQ=DAILY", "02:30", "2026-03-28", []string{"2026-03-28 02:30", "2026-03-29 02:30", "2026-03-30 02:30"}},
	} {
		w := calendar.Window{Cron: tt.rule, TimeZone: tt.zone, Duration: "2h"}
		if tt.start != "" {
			w.RRule, w.Cron, w.Start = tt.rule, "", "2020-01-01T"+tt.start+":00"
		}
		require.NoError(t, w.Validate())
		from := utc(t, tt.from+" 00:00")
		var got []string
		for _, in := range w.Occurrences(from, from.Add(72*time.Hour)) {
			require.Equal(t, 2*time.Hour, in.To.Sub(in.From), "elapsed time")
			require.Equal(t, time.UTC, in.From.Location())
			if in.From.Before(from) {
				continue
			}
			got = append(got, in.From.Format("2006-01-02 15:04"))
		}
		if tt.want == nil { // every hour that passes
			require.Len(t, got, 72, tt)
			continue
		}
		require.Equal(t, tt.want, got[:min(len(got), len(tt.want))], tt)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule, start string
		want        []string
	}{
		{"FREQ=DAILY;COUNT=2", "2026-01-01T10:00:00", []string{"2026-01-01", "2026-01-02"}},
		{"RRULE:FREQ=DAILY;INTERVAL=3;UNTIL=20260107", "2026-01-01T10:00:00", []string{"2026-01-01", "2026-01-04", "2026-01-07"}},
		{"FREQ=DAILY;UNTIL=20260102T095900Z", "2026-01-01T10:00:00", []string{"2026-01-01"}},
		{"freq=weekly;byday=tu,th;count=3", "2026-01-01T10:00:00", []string{"2026-01-01", "2026-01-06", "2026-01-08"}},
		{"FREQ=WEEKLY;INTERVAL=2;COUNT=3", "2026-01-01T10:00:00", []string{"2026-01-01", "2026-01-15", "2026-01-29"}},
		{"FREQ=MONTHLY;BYDAY=-1FR;COUNT=3", "2026-01-01T10:00:00", []string{"2026-01-30", "2026-02-27", "2026-03-27"}},
		{"FREQ=MONTHLY;BYMONTHDAY=31;COUNT=3", "2026-01-01T10:00:00", []string{"2026-01-31", "2026-03-31", "2026-05-31"}},
		{"FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=2", "2026-01-01T10:00:00", []string{"2026-01-30", "2026-02-27"}},
		{"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;COUNT=2", "2026-01-01T10:00:00", []string{"2028-02-29", "2032-02-29"}},
		{"FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;COUNT=2", "2026-01-01T10:00:00", []string{"2026-05-11", "2027-05-17"}},
	} {
		w := calendar.Window{RRule: tt.rule, Start: tt.start, Duration: "1h"}
		require.NoError(t, w.Validate(), tt.rule)
		var got []string
		for _, in := range w.Occurrences(utc(t, "2000-01-01 00:00"), utc(t, "2100-01-01 00:00")) {
			require.Equal(t, "10:00", in.From.Format("15:04"))
			got = append(got, in.From.Format("2006-01-02"))
		}
		require.Equal(t, tt.want, got, tt.rule)
	}
	forever := calendar.Window{RRule: "FREQ=DAILY", Start: "2026-01-01T10:00:00", Duration: "1h"}
	require.Len(t, forever.Occurrences(time.Time{}, utc(t, "2100-01-01 00:00")), calendar.MaxOccurrences)
}

func TestActiveAndNextChange(t *testing.T) {
	t.Parallel()
	once := calendar.Window{StartsAt: utc(t, "2026-01-01 10:00").In(time.FixedZone("", 3600)), EndsAt: utc(t, "2026-01-01 12:00")}
	daily := calendar.Window{RRule: "FREQ=DAILY;COUNT=3", Start: "2026-01-01T10:00:00", Duration: "2h"}
	overlapping := calendar.Window{Cron: "0 10,11 * * *", Start: "2026-01-01T10:30:00", Duration: "90m"}
	always := calendar.Window{Cron: "0 * * * *", Start: "2026-01-01T10:30:00", Duration: "1h"}
	for i, tt := range []struct {
		w                     calendar.Window
		now, from, to, change string
	}{
		{once, "2025-01-01 10:00", "", "", "2026-01-01 10:00"},
		{once, "2026-01-01 10:00", "2026-01-01 10:00", "2026-01-01 12:00", "2026-01-01 12:00"},
		{once, "2026-01-01 11:59", "2026-01-01 10:00", "2026-01-01 12:00", "2026-01-01 12:00"},
		{once, "2026-01-01 12:00", "", "", ""},
		{daily, "2026-01-01 12:00", "", "", "2026-01-02 10:00"},
		{daily, "2026-01-03 11:00", "2026-01-03 10:00", "2026-01-03 12:00", "2026-01-03 12:00"},
		{daily, "2026-01-03 12:00", "", "", ""},
		{overlapping, "2026-01-01 10:10", "", "", "2026-01-01 11:00"},
		{overlapping, "2026-01-02 10:10", "2026-01-02 10:00", "2026-01-02 11:30", "2026-01-02 12:30"},
		{overlapping, "2026-01-02 11:10", "2026-01-02 11:00", "2026-01-02 12:30", "2026-01-02 12:30"},
		{always, "2026-01-02 11:10", "2026-01-02 11:00", "2026-01-02 12:00", "2026-02-13 04:00"},
		{calendar.Window{}, "2026-01-02 11:10", "", "", ""},
	} {
		now := utc(t, tt.now)
		in, active := tt.w.Active(now)
		require.Equal(t, tt.from != "", active, i)
		if active {
			require.Equal(t, calendar.Interval{From: utc(t, tt.from), To: utc(t, tt.to)}, in, i)
		}
		change := tt.w.NextChange(now)
		if tt.change == "" {
			require.Zero(t, change, i)
			continue
		}
		require.Equal(t, utc(t, tt.change), change, i)
	}
}

func TestInvalidWindows(t *testing.T) {
	t.Parallel()
	base := utc(t, "2026-01-01 10:00")
	rule := func(rule string) calendar.Window {
		return calendar.Window{RRule: rule, Start: "2026-01-01T10:00:00", Duration: "1h"}
	}
	for field, windows := range map[string][]calendar.Window{
		"starts_at": {{}, {EndsAt: base}, {RRule: "FREQ=DAILY", Start: "2026-01-01T10:00:00", Duration: "1h", StartsAt: base}},
		"ends_at":   {{StartsAt: base}, {StartsAt: base, EndsAt: base}, {StartsAt: base, EndsAt: base.Add(time.Second)}, {StartsAt: base, EndsAt: base.AddDate(2, 0, 0)}},
		"duration":  {{RRule: "FREQ=DAILY", Start: "2026-01-01T10:00:00"}, {Cron: "0 0 * * *", Duration: "1s"}, {Cron: "0 0 * * *", Duration: "169h"}, {Cron: "0 0 * * *", Duration: "2 hours"}},
		"time_zone": {{Cron: "0 0 * * *", Duration: "1h", TimeZone: "Mars/Olympus"}, {Cron: "0 0 * * *", Duration: "1h", TimeZone: "Local"}, {Cron: "0 0 * * *", Duration: "1h", TimeZone: "../etc/passwd"}},
		"start":     {{RRule: "FREQ=DAILY", Duration: "1h"}, {RRule: "FREQ=DAILY", Duration: "1h", Start: "2026-01-01T10:00:00Z"}, {Cron: "0 0 * * *", Duration: "1h", Start: "10:00"}, {RRule: "FREQ=DAILY", Duration: "1h", Start: "0001-01-01T10:00:00"}},
		"cron":      {{Cron: "* * * *", Duration: "1h"}, {Cron: "0 0 30 2 *", Duration: "1h"}, {Cron: "TZ=Europe/Berlin", Duration: "1h"}, {Cron: "@daily", Duration: "1h"}, {Cron: "60 0 * * *", Duration: "1h"}},
		"rrule": {
			{RRule: "FREQ=DAILY", Cron: "0 0 * * *"}, {StartsAt: base, EndsAt: base.Add(time.Hour), TimeZone: berlin},
			rule("DAILY"), rule("FREQ=HOURLY"), rule("FREQ=SECONDLY"), rule("INTERVAL=2"), rule("FREQ=DAILY;FREQ=DAILY"), rule("FREQ=DAILY;BYHOUR=3"), rule("FREQ=DAILY;INTERVAL=0"), rule("FREQ=DAILY;INTERVAL=100000"),
			rule("FREQ=DAILY;COUNT=0"), rule("FREQ=DAILY;COUNT=3;UNTIL=20270101"), rule("FREQ=DAILY;BYMONTH=13"), rule("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"), rule("FREQ=MONTHLY;BYDAY=6MO"), rule("FREQ=YEARLY;BYMONTH=12;BYDAY=53MO"),
			rule("FREQ=WEEKLY;BYDAY=2MO"), rule("FREQ=YEARLY;BYEASTER=300"), rule("FREQ=WEEKLY;BYMONTHDAY=3"), rule("FREQ=MONTHLY;BYWEEKNO=3"), rule("FREQ=DAILY;BYSETPOS=1"), rule("FREQ=DAILY;UNTIL=20250101"), rule("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY"),
		},
	} {
		for _, w := range windows {
			err := w.Validate()
			require.Equal(t, fault.Code("invalid_maintenance"), fault.CodeOf(err), "%s: %+v", field, w)
			require.Equal(t, field, fault.From(err).Field, "%+v: %v", w, err)
			require.Empty(t, w.Occurrences(base, base.AddDate(1, 0, 0)))
		}
	}
}

// Whatever time one asks at, the same occurrences are found, and changes are where Active changes.
func TestWindowsAreTheSameFromEverywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := calendar.Window{
			RRule: rapid.SampledFrom([]string{
				"FREQ=DAILY", "FREQ=DAILY;INTERVAL=5", "FREQ=DAILY;INTERVAL=3;BYDAY=MO,TU", "FREQ=WEEKLY", "FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,SU;WKST=SU", "FREQ=WEEKLY;COUNT=99", "FREQ=MONTHLY;BYDAY=-1SU", "FREQ=YEARLY;BYDAY=20MO",
			}).Draw(t, "rule"),
			Start:    "2020-02-29T" + rapid.SampledFrom([]string{"02:30:00", "23:59:59", "00:00:00"}).Draw(t, "start"),
			Duration: rapid.SampledFrom([]string{"1h", "26h", "100h"}).Draw(t, "duration"),
			TimeZone: rapid.SampledFrom([]string{berlin, newYork, "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "America/Sao_Paulo"}).Draw(t, "zone"),
		}
		if rapid.Bool().Draw(t, "cron") {
			w.RRule, w.Cron = "", rapid.SampledFrom([]string{"30 2 * * *", "15 */5 * * 1-5", "*/30 0-3 1,15 * *", "0 0 * * 0"}).Draw(t, "cron")
		}
		from := utc(t, "2020-01-01 00:00").Add(time.Duration(rapid.Int64Range(0, 8*366*24*60).Draw(t, "from")) * time.Minute)
		to := from.Add(time.Duration(rapid.Int64Range(1, 40*24*60).Draw(t, "for")) * time.Minute)
		mid := from.Add(time.Duration(rapid.Int64Range(0, int64(to.Sub(from))).Draw(t, "mid")))
		seen := map[calendar.Interval]bool{}
		list := w.Occurrences(from, to)
		for i, in := range list {
			seen[in] = true
			require.True(t, in.From.Before(to) && in.To.After(from))
			require.True(t, i == 0 || in.From.After(list[i-1].From))
		}
		for _, in := range append(w.Occurrences(from, mid), w.Occurrences(mid, to)...) {
			require.True(t, seen[in], "%v of %v", in, list)
		}
		_, active := w.Active(mid)
		change := w.NextChange(mid)
		if change.IsZero() {
			require.False(t, active)
			return
		}
		require.True(t, change.After(mid))
		if len(w.Occurrences(mid, change)) == calendar.MaxOccurrences { // it does not end
			return
		}
		_, after := w.Active(change)
		_, before := w.Active(change.Add(-1))
		require.Equal(t, active, before)
		require.NotEqual(t, before, after)
	})
}

func FuzzWindow(f *testing.F) {
	f.Add("FREQ=MONTHLY;BYDAY=-1FR", "", "2026-01-01T10:00:00", berlin)
	f.Add("", "*/5 2 29 2 1", "", newYork)
	f.Add("FREQ=YEARLY;BYWEEKNO=-53;BYDAY=MO;BYSETPOS=366", "", "2026-12-31T10:00:00", "")
	f.Fuzz(func(t *testing.T, rule, cron, start, zone string) {
		w := calendar.Window{RRule: rule, Cron: cron, Start: start, Duration: "1h", TimeZone: zone}
		if w.Validate() != nil {
			return
		}
		now := utc(t, "2026-11-24 12:00")
		w.Active(now)
		if change := w.NextChange(now); !change.IsZero() {
			require.True(t, change.After(now))
		}
		var back calendar.Window
		text, err := json.Marshal(w)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &back))
	})
}

func BenchmarkActive(b *testing.B) {
	for name, w := range map[string]calendar.Window{
		"daily for ten years":   {RRule: "FREQ=DAILY", Start: "2016-01-01T02:30:00", Duration: "1h", TimeZone: berlin},
		"monthly for ten years": {RRule: "FREQ=MONTHLY;BYDAY=1SU", Start: "2016-01-01T02:30:00", Duration: "1h", TimeZone: berlin},
		"cron":                  {Cron: "30 2 * * 0", Duration: "1h", TimeZone: berlin},
		"never":                 {RRule: "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", Start: "2016-01-01T02:30:00", Duration: "1h", TimeZone: berlin},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w.Active(utc(b, "2026-11-24 12:00"))
			}
		})
	}
}
