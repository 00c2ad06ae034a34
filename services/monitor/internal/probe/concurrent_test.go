package probe

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Many goroutines share a prober, its plans and even a job.
func TestManyChecksAtOnce(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	})
	spec := get(url + "/first")
	spec.Headers = map[string]string{"X-A": "b"}
	spec.ExpectBody = []check.Match{{Matches: `"ok"`}}
	spec.ExpectJSON = []check.JSONMatch{{Path: "$.status", Equals: "ok"}}
	spec.Assert = `json.status == "ok" && body.matches("ok")`
	p := newProber(t, func(c *Config) { c.Plans = 2 })
	jobs := []*check.Job{job(spec), job(spec), job(spec)} // one more than are kept
	results := make([]check.Result, 300)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { results[i] = p.Check(t.Context(), jobs[i%len(jobs)]) })
	}
	all.Wait()
	for _, r := range results {
		require.Equal(t, check.Up, r.Outcome, r.Detail)
	}
}
