package probe

import (
	"bufio"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// read reads a body up to the cap, which counts what is unpacked, and keeps of it what is looked at.
func (l *look) read(answer *http.Response) error {
	most := l.job.Spec.MaxBodyBytes
	if most == 0 {
		most = defaultBody
	}
	body, err := unpacked(answer, int64(most))
	if err != nil {
		return err
	}
	kept := min(most, check.EvidenceBody)
	if l.plan.wholeBody {
		kept = most
	}
	if l.saw.body, err = io.ReadAll(io.LimitReader(body, int64(kept))); err != nil {
		return err
	}
	more, err := io.Copy(io.Discard, io.LimitReader(body, int64(most-kept+1)))
	l.saw.truncated = more > 0
	return err
}

// unpacked undoes the encoding that some servers choose unasked. A stream of packed bytes can be endless and unpack to nothing, so they are
// limited too.
func unpacked(answer *http.Response, most int64) (io.Reader, error) {
	packed := bufio.NewReader(io.LimitReader(answer.Body, most+64<<10))
	var unpack func(io.Reader) (io.Reader, error)
	switch strings.ToLower(answer.Header.Get("Content-Encoding")) {
	case "gzip", "x-gzip":
		unpack = func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
	case "deflate":
		unpack = func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }
	default:
		return answer.Body, nil
	}
	if _, err := packed.Peek(1); errors.Is(err, io.EOF) {
		return packed, nil // to HEAD, for instance
	}
	return unpack(packed)
}
