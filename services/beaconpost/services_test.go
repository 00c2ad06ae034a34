package beaconpost_test

import (
	"net/http"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
)

// startService runs one service as a process of its own until it is ready.
func startService(t *testing.T, bench *servicetest.Bench, name string) (p *process, url string, addrs []string) {
	t.Helper()
	addrs = []string{"127.0.0.1:" + freePort(t), "127.0.0.1:" + freePort(t)}
	p = start(t, append(bench.Environ, "BEACONPOST_LISTEN="+addrs[0], "BEACONPOST_ADMIN_LISTEN="+addrs[1]), name)
	p.await("it is ready", func() bool { status, _ := get(t, "http://"+addrs[1]+"/readyz"); return status == 200 })
	url = "http://" + addrs[0]
	p.await("it serves", func() bool { status, _ := get(t, url+"/openapi/"+name+".json"); return status == 200 })
	return p, url, addrs
}

func TestServicesAsProcesses(t *testing.T) {
	t.Parallel()
	bench := servicetest.New(t)
	urls := map[string]string{}
	var processes []*process
	var listening []string
	for _, name := range []string{"ingest", "delivery", "monitor"} {
		p, url, addrs := startService(t, bench, name)
		urls[name], processes, listening = url, append(processes, p), append(listening, addrs...)
		status, metrics := get(t, "http://"+addrs[1]+"/metrics")
		require.Equal(t, 200, status, name)
		require.Contains(t, metrics, "beaconpost_broker_connected 1", name)
		status, _ = get(t, url+"/v1/nothing")
		require.Equal(t, 404, status, name)
	}

	// They work together through nothing but the database and the broker.
	var tenant struct {
		APIKey string `json:"api_key"`
	}
	servicetest.Client{T: t, URL: urls["ingest"], Token: bench.Operator()}.Do(http.MethodPost, "/v1/tenants", map[string]string{"name": "acme"}).Want(201, &tenant)
	in, out := servicetest.Client{T: t, URL: urls["ingest"], Token: tenant.APIKey}, servicetest.Client{T: t, URL: urls["delivery"], Token: tenant.APIKey}
	r := receive(t, "0")
	createEndpoint(in, r.url, nil)
	event := sendEvent(in)
	processes[1].await("the event was delivered", func() bool { return deliveryOf(out, event).Status == "delivered" })
	require.Equal(t, []string{event}, r.received())

	for _, p := range processes {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range processes {
		p.wantCode(0)
	}
	for _, addr := range listening {
		requireClosed(t, addr)
	}
}

func TestServicesWithoutConfiguration(t *testing.T) {
	t.Parallel()
	for name, required := range map[string][]string{
		"ingest":   {"BEACONPOST_DATABASE_URL: is required", "BEACONPOST_SECRETS_KEYS: is required"},
		"delivery": {"BEACONPOST_DATABASE_URL: is required", "BEACONPOST_SECRETS_KEYS: is required"},
		"monitor":  {"BEACONPOST_DATABASE_URL: is required"},
	} {
		run(t, nil, name).wantError(2, required...)
		run(t, []string{"BEACONPOST_DATABASE_ULR=x", "BEACONPOST_SHUTDOWN_GRACE=soon"}, name).wantError(2,
			"BEACONPOST_DATABASE_URL: is required", "BEACONPOST_DATABASE_ULR: is not a known variable, did you mean BEACONPOST_DATABASE_URL?",
			`BEACONPOST_SHUTDOWN_GRACE: "soon" is not a duration`)
	}
}

// A service takes the variables of the others for granted: one environment may serve them all.
func TestServiceOnATakenPort(t *testing.T) {
	t.Parallel()
	bench := servicetest.New(t)
	environ := slices.Concat(bench.Environ, []string{"BEACONPOST_DELIVERY_TIMEOUT=5s", "BEACONPOST_MAX_PAYLOAD=1KiB"})
	for _, name := range []string{"ingest", "delivery", "monitor"} {
		port := "127.0.0.1:" + takenPort(t)
		run(t, append(environ, "BEACONPOST_LISTEN="+port, "BEACONPOST_ADMIN_LISTEN=127.0.0.1:0"), name).wantError(1, port, "another program uses this port")
		run(t, append(environ, "BEACONPOST_LISTEN=127.0.0.1:0", "BEACONPOST_ADMIN_LISTEN="+port), name).wantError(1, port, "another program uses this port")
	}
}
