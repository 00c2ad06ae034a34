package up

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

const welcome = `
Beaconpost is ready (%.1f s): %s
  docs       %[2]s/docs
  data       %[3]s
  admin      ingest http://%[4]s, delivery http://%[5]s, monitor http://%[6]s  (/metrics, /readyz)
  receivers  on this machine may be called (loopback is allowed here, refused in production)
%[8]s
Try it, in another terminal:

  export BEACONPOST_URL=%[2]s BEACONPOST_API_KEY=%[7]s

  # a receiver that checks signatures; it creates an endpoint for itself
  ./bin/beaconpost listen --register

  # an event
  curl -s $BEACONPOST_URL/v1/events -H "Authorization: Bearer $BEACONPOST_API_KEY" \
    -H 'Content-Type: application/json' -d '{"event_type":"order.paid","payload":{"order":42}}'

  # what became of it
  curl -s "$BEACONPOST_URL/v1/deliveries?limit=1" -H "Authorization: Bearer $BEACONPOST_API_KEY"

Ctrl-C drains and stops everything; the next start goes on where this one was.
`

// observed says where Prometheus is, in a line of its own.
func (s *system) observed() string {
	if s.prometheusURL == "" {
		return ""
	}
	return "  prometheus " + s.prometheusURL + "  (alerts at /alerts; Grafana's dashboards are in deploy/k8s/observability)\n"
}

// announce tells people what runs where and what to do next.
func (s *system) announce(took time.Duration) {
	file, err := demo.Read(s.dir)
	if err != nil {
		return // written a moment ago; somebody removed it
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		dir = s.dir
	}
	_, _ = fmt.Fprintf(s.out, welcome, took.Seconds(), file.URL, dir, file.Admin["ingest"], file.Admin["delivery"], file.Admin["monitor"], file.APIKey, s.observed())
}
