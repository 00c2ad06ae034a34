package listen

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// errStopping is the cause of the requests' contexts when the command stops.
var errStopping = errors.New("the receiver stops")

// answer is what a request is answered with; status 0 is none.
type answer struct {
	status     int
	text       string
	retryAfter time.Duration
}

// refuse makes the answer to a request that is wrong and notes why.
func refuse(status int, rec *Record, why string) answer {
	rec.Error = why
	return answer{status: status, text: why}
}

func (a answer) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if a.retryAfter > 0 && !success(a.status) {
		seconds := (a.retryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.text+"\n") // the client is gone or the status has no body
}
