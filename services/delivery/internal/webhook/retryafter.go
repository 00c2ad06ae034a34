package webhook

import (
	"net/http"
	"time"
)

// notBefore reads a Retry-After field (RFC 9110, 10.2.3), seconds or an HTTP date. It gives the zero time for one that is neither, or that
// asks for no wait; one that asks for more than longest is taken as that.
func notBefore(field string, now time.Time, longest time.Duration) time.Time {
	wait, ok := seconds(field, longest)
	if !ok {
		date, err := http.ParseTime(field)
		if err != nil {
			return time.Time{}
		}
		wait = min(date.Sub(now), longest)
	}
	if wait <= 0 {
		return time.Time{}
	}
	return now.Add(wait)
}

// seconds reads delay-seconds, digits alone, of any number of which more than longest is longest.
func seconds(field string, longest time.Duration) (wait time.Duration, ok bool) {
	if field == "" {
		return 0, false
	}
	for i := range len(field) {
		c := field[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if wait <= longest {
			wait = 10*wait + time.Duration(c-'0')*time.Second
		}
	}
	return min(wait, longest), true
}
