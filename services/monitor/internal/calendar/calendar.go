// Package calendar owns when things of a monitor happen: the slots at which it is checked (Schedule), when a heartbeat is expected (Expectation)
// and when there is maintenance (Window).
//
// It waits for nothing and keeps nothing: everything here is a function of a definition and a time. What follows from a slot that was missed or a
// window that began, package verdict says.
//
// Local times follow the clock on the wall of an IANA time zone:
//
//	                 a time that does not exist          a time that exists twice
//	                 (the clock is put forward)          (the clock is put back)
//	RRULE            as much later as the clock was      the first, once
//	                 put forward (RFC 5545, 3.3.5):
//	                 02:30 is 03:30
//	cron, fixed hour when the clock is put forward:      the first, once
//	("30 2 * * *")   02:30 is 03:00
//	cron, any hour   it is skipped: the next one that    both
//	("30 * * * *")   exists
//
// Both are what people's calendars and cron daemons do. Durations are elapsed time: two hours are two hours on such a day too.
package calendar
