package calendar_test
import ("testing";"time";"fmt";"os";"github.com/beaconpost/beaconpost/services/monitor/internal/calendar")
func FuzzZZ(f *testing.F) {
	f.Add("FREQ=MONTHLY;BYDAY=-1FR", "", "2026-01-01T10:00:00", berlin)
	f.Add("", "*/5 2 29 2 1", "", newYork)
	f.Add("FREQ=YEARLY;BYWEEKNO=-53;BYDAY=MO;BYSETPOS=366", "", "2026-12-31T10:00:00", "")
	f.Fuzz(func(t *testing.T, rule, cron, start, zone string) {
		w := calendar.Window{RRule: rule, Cron: cron, Start: start, Duration: "1h", TimeZone: zone}
		tm := time.AfterFunc(3*time.Second, func(){ fh,_:=os.Create("/tmp/hang.txt"); fmt.Fprintf(fh, "%#v\n", w); fh.Close(); os.Exit(3) })
		defer tm.Stop()
		if w.Validate() != nil { return }
		w.NextChange(utc(t, "2026-11-24 12:00"))
	})
}
