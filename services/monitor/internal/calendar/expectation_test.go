package calendar_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestExpectations(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		e    check.Expectation
		from string
		want []string
	}{
		{check.Expectation{Every: "90m"}, "2026-03-29 00:00", []string{"2026-03-29 01:30", "2026-03-29 03:00"}},
		{check.Expectation{Cron: "0 2 * * 1-5"}, "2026-11-27 12:00", []string{"2026-11-30 02:00", "2026-12-01 02:00"}},
		{check.Expectation{Cron: "0 0 29 2 *"}, "2026-11-27 12:00", []string{"2028-02-29 00:00", "2032-02-29 00:00"}},
		{check.Expectation{Cron: "30 2 * * *", TimeZone: berlin}, "2026-03-28 12:00", []string{"2026-03-29 01:00", "2026-03-30 00:30"}},
		{check.Expectation{Cron: "30 2 * * *", TimeZone: berlin}, "2026-10-24 12:00", []string{"2026-10-25 00:30", "2026-10-26 01:30"}},
		{check.Expectation{Cron: "30 2 * * *", TimeZone: berlin}, "2026-10-25 01:15", []string{"2026-10-26 01:30"}},
		{check.Expectation{Cron: "30 * * * *", TimeZone: berlin}, "2026-03-29 00:00", []string{"2026-03-29 00:30", "2026-03-29 01:30", "2026-03-29 02:30"}},
		{check.Expectation{Cron: "30 * * * *", TimeZone: berlin}, "2026-10-24 23:45", []string{"2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"}},
		{check.Expectation{Cron: "0 * * * *", TimeZone: newYork}, "2026-11-01 04:30", []string{"2026-11-01 05:00", "2026-11-01 06:00", "2026-11-01 07:00"}},
		{check.Expectation{Cron: "0 */2 * * *", TimeZone: newYork}, "2026-03-08 04:30", []string{"2026-03-08 05:00", "2026-03-08 08:00"}}, // 02:00 is not; 04:00
		{check.Expectation{Cron: "30 1 * * *", TimeZone: newYork}, "2026-11-01 00:00", []string{"2026-11-01 05:30", "2026-11-02 06:30"}},
	} {
		e, err := calendar.ParseExpectation(tt.e)
		require.NoError(t, err)
		require.Equal(t, calendar.DefaultGrace, e.Grace)
		at := utc(t, tt.from)
		for _, want := range tt.want {
			at = e.Next(at)
			require.Equal(t, utc(t, want), at, tt)
		}
	}
}

func TestInvalidExpectations(t *testing.T) {
	t.Parallel()
	for field, list := range map[string][]check.Expectation{
		"expected":           {{}, {Every: "1h", Cron: "0 0 * * *"}, {OnCalendar: "daily", Cron: "0 0 * * *"}},
		"expected.every":     {{Every: "1s"}, {Every: "-1h"}, {Every: "9000h"}, {Every: "hourly"}},
		"expected.grace":     {{Every: "1h", Grace: "0s"}, {Every: "1h", Grace: "a while"}},
		"expected.time_zone": {{Cron: "0 0 * * *", TimeZone: "Berlin"}, {Every: "1h", TimeZone: berlin}, {OnCalendar: "daily", TimeZone: "Berlin"}},
		"expected.on_calendar": {
			{OnCalendar: " "}, {OnCalendar: "daily 10:00"}, {OnCalendar: "Sat..Mon"}, {OnCalendar: "mon-wed"}, {OnCalendar: "9"}, {OnCalendar: "*/6:00"}, {OnCalendar: "*-*~3..1"},
			{OnCalendar: "*-*-20/2~3"}, {OnCalendar: "12:00:00.5"}, {OnCalendar: "24:00"}, {OnCalendar: "10:60"}, {OnCalendar: "*-13-01"}, {OnCalendar: "*-*-0"}, {OnCalendar: "*:0/0"},
			{OnCalendar: "*-02-30"}, {OnCalendar: "10:00 Nowhere"}, {OnCalendar: "10:00 Local"}, {OnCalendar: "10:00 11:00"}, {OnCalendar: "Mon,"},
			{OnCalendar: "1,,2:00"}, {OnCalendar: "10:00 UTC", TimeZone: "UTC"}, {OnCalendar: "@1234567"}, {OnCalendar: strings.Repeat("1,", 100) + "1:00"}, {OnCalendar: "UTC"},
		},
		"expected.cron": {{Cron: "0 0 31 2,4,6,9,11 *"}, {Cron: "0 0 0 * * *"}, {Cron: "@every 1h"}, {Cron: "CRON_TZ=UTC 0 0 * * *"}, {Cron: "TZ=UTC 0 0 * *"}, {Cron: "0 0 * * 7"}, {Cron: "0 0 * * MON-"}},
	} {
		for _, e := range list {
			_, err := calendar.ParseExpectation(e)
			require.Equal(t, fault.Code("invalid_monitor"), fault.CodeOf(err), "%+v", e)
			require.Equal(t, field, fault.From(err).Field, "%+v", e)
		}
	}
}

// A pattern of any hour fires in every minute at which the clock on the wall shows what it says, and in no other.
func TestCronOfAnyHourFollowsTheWall(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{berlin, newYork, "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca"}).Draw(t, "zone")
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		e, err := calendar.ParseExpectation(check.Expectation{Cron: "*/15 * * * *", TimeZone: zone})
		require.NoError(t, err)
		day := utc(t, "2011-01-01 00:00").AddDate(0, 0, rapid.IntRange(0, 366*16).Draw(t, "day"))
		at := day.Add(-time.Minute)
		for minute := range 48 * 60 {
			if now := day.Add(time.Duration(minute) * time.Minute); now.In(loc).Minute()%15 == 0 {
				at = e.Next(at)
				require.Equal(t, now, at)
			}
		}
	})
}

// One of a fixed hour fires once a day, whatever the clock does, not before its time and at most as much later as the clock is put forward.
func TestCronOfAFixedHourFiresOnceADay(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{berlin, newYork, "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca"} {
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		for _, cron := range []string{"0 0 * * *", "30 0 * * *", "30 1 * * *", "15 2 * * *", "30 2 * * *", "59 23 * * *"} {
			e, err := calendar.ParseExpectation(check.Expectation{Cron: cron, TimeZone: zone})
			require.NoError(t, err)
			at := time.Date(2015, 1, 1, 23, 59, 59, 0, loc)
			for day := 2; day < 365*12; day++ {
				at = e.Next(at)
				want := time.Date(2015, 1, day, 12, 0, 0, 0, loc)
				local := at.In(loc)
				require.Equal(t, want.Format(time.DateOnly), local.Format(time.DateOnly), "%s %s", cron, zone)
			}
		}
	}
}
