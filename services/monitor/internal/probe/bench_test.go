package probe

import (
	"io"
	"net/http"
	"testing"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// BenchmarkHTTP is a whole check over loopback, server included.
func BenchmarkHTTP(b *testing.B) {
	url := serve(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"ok"}`) })
	bench(b, newProber(b), get(url))
}

// BenchmarkHTTPConditions adds all that can be expected.
func BenchmarkHTTPConditions(b *testing.B) {
	url := serve(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"ok"}`) })
	spec := get(url)
	spec.ExpectBody = []check.Match{{Matches: `"status":\s*"ok"`}}
	spec.ExpectJSON = []check.JSONMatch{{Path: "$.status", Equals: "ok"}}
	spec.Assert = `status == 200 && json.status == "ok"`
	bench(b, newProber(b), spec)
}

// BenchmarkHTTPS is with a handshake and HTTP/2.
func BenchmarkHTTPS(b *testing.B) {
	ca := newAuthority(b)
	bench(b, newProber(b, ca.trusted), get(serveTLS(b, tlsOf(ca.valid(b)), nil)))
}

func bench(b *testing.B, p *Prober, spec check.Spec) {
	b.Helper()
	j := job(spec)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if r := p.Check(b.Context(), j); r.Outcome != check.Up {
				b.Error(r.Detail)
				return
			}
		}
	})
}
