package beaconpost_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
)

type deliveryView struct {
	ID       string `json:"id"`
	EventID  string `json:"event_id"`
	Status   string `json:"status"`
	Attempts int    `json:"attempts"`
}

// deliveryOf gives the only delivery of an event.
func deliveryOf(c servicetest.Client, event string) deliveryView {
	c.T.Helper()
	var list struct {
		Data []deliveryView `json:"data"`
	}
	c.Do(http.MethodGet, "/v1/deliveries?event_id="+event, nil).Want(200, &list)
	require.Len(c.T, list.Data, 1)
	return list.Data[0]
}

func createEndpoint(c servicetest.Client, url string, retry map[string]any) (id string) {
	c.T.Helper()
	var created struct {
		ID string `json:"id"`
	}
	c.Do(http.MethodPost, "/v1/endpoints", map[string]any{"url": url, "retry": retry}).Want(201, &created)
	return created.ID
}

func sendEvent(c servicetest.Client) (id string) {
	c.T.Helper()
	var accepted struct {
		ID string `json:"id"`
	}
	c.Do(http.MethodPost, "/v1/events", `{"event_type":"order.paid","payload":{"order":42}}`).Want(202, &accepted)
	return accepted.ID
}

func TestUpFromStartToStop(t *testing.T) {
	t.Parallel()
	dir, port := filepath.Join(sharedTempDir(t), "not", "there", "yet"), freePort(t)
	p := startUp(t, dir, nil, "--listen", "127.0.0.1:"+port)

	// The port is taken first, long before there is a database.
	status := 0
	p.await("it listens", func() bool { status, _ = get(t, "http://127.0.0.1:"+port+"/readyz"); return status != 0 })
	require.Equal(t, 503, status)
	answer := servicetest.Client{T: t, URL: "http://127.0.0.1:" + port, Token: "bp_early"}.Do(http.MethodPost, "/v1/events", `{}`).Want(503, nil)
	require.Equal(t, "1", answer.Header.Get("Retry-After"), "early producers repeat")

	i := p.ready(dir)
	require.Equal(t, "http://127.0.0.1:"+port, i.URL)
	status, body := get(t, i.URL+"/readyz")
	require.Equal(t, 200, status, body)
	for _, page := range []string{"/", "/healthz", "/docs", "/docs/ingest", "/docs/delivery", "/docs/monitor", "/openapi/ingest.json", "/openapi/delivery.json", "/openapi/monitor.json"} {
		status, _ := get(t, i.URL+page)
		require.Equal(t, 200, status, page)
	}
	require.Len(t, i.Admin, 3)
	for _, name := range []string{"ingest", "delivery", "monitor"} {
		for path, part := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "beaconpost_broker_connected 1"} {
			status, body := get(t, "http://"+i.Admin[name]+path)
			require.Equal(t, 200, status, name+path)
			require.Contains(t, body, part, name+path)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "demo.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Contains(t, i.stdout.String(), i.URL)
	require.Contains(t, i.stdout.String(), i.APIKey)

	// The credential is the tenant's, and everything works together.
	r := receive(t, "0")
	createEndpoint(i.client(), r.url, nil)
	event := sendEvent(i.client())
	i.await("the event was delivered", func() bool { return deliveryOf(i.client(), event).Status == "delivered" })
	require.Equal(t, []string{event}, r.received())
	var tenant struct {
		Name string `json:"name"`
	}
	i.operator().Do(http.MethodGet, "/v1/tenants/"+i.TenantID, nil).Want(200, &tenant)
	require.Equal(t, "demo", tenant.Name)

	require.NotEmpty(t, processesOf(t, dir), "the look at processes does not work")
	i.stop()
	requireClosed(t, "127.0.0.1:"+port)
	for _, addr := range i.Admin {
		requireClosed(t, addr)
	}
	require.Empty(t, i.stderr.String(), "nothing to warn about")
}

func TestUpGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	dir, port := sharedTempDir(t), freePort(t)
	first := up(t, dir, nil)
	createEndpoint(first.client(), "http://127.0.0.1:"+port+"/", map[string]any{"base": "200ms", "max_attempts": 50})
	event := sendEvent(first.client())
	first.await("an attempt failed", func() bool { return deliveryOf(first.client(), event).Attempts > 0 })
	require.Equal(t, "pending", deliveryOf(first.client(), event).Status)
	first.stop()

	r := receive(t, port)
	second := up(t, dir, nil)
	require.Equal(t, first.TenantID, second.TenantID)
	require.Equal(t, first.APIKey, second.APIKey)
	second.await("the event was delivered", func() bool { return deliveryOf(second.client(), event).Status == "delivered" })
	require.Equal(t, []string{event}, r.received())
	second.stop()
}

func TestUpAfterKill(t *testing.T) {
	t.Parallel()
	dir, port := sharedTempDir(t), freePort(t)
	// Lost messages are found within seconds. Between the attempts no message is in flight: the broker would wait for its worker.
	environ := []string{"BEACONPOST_DELIVERY_RECONCILE_GRACE=2s", "BEACONPOST_DELIVERY_RECONCILE_INTERVAL=500ms"}
	first := up(t, dir, environ)
	createEndpoint(first.client(), "http://127.0.0.1:"+port+"/", map[string]any{"schedule": []string{"3s", "1s", "1s"}})
	event := sendEvent(first.client())
	first.await("an attempt failed", func() bool { return deliveryOf(first.client(), event).Attempts > 0 })
	orphan := postmaster(t, dir)
	first.kill()

	r := receive(t, port)
	second := up(t, dir, environ)
	require.NotEqual(t, orphan, postmaster(t, dir))
	for _, running := range processesOf(t, dir) {
		require.NotContains(t, running, strconv.Itoa(orphan))
	}
	requireDead(t, orphan)
	require.Equal(t, first.TenantID, second.TenantID)
	require.Equal(t, first.APIKey, second.APIKey)
	second.await("the event was delivered", func() bool { return deliveryOf(second.client(), event).Status == "delivered" })
	require.Contains(t, r.received(), event)
	second.stop()
}

// postmaster gives the process id of the private Postgres.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "postgres", "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}

// requireDead accepts a zombie: nobody may be there to reap an orphan.
func requireDead(t *testing.T, pid int) {
	t.Helper()
	if syscall.Kill(pid, 0) != nil {
		return
	}
	args, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	require.NoError(t, err)
	require.Empty(t, args)
}

func TestUpStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	for name, stage := range map[string]string{"before the database exists": "up.lock", "while the database starts": "postgres/PG_VERSION"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := sharedTempDir(t)
			p := startUp(t, dir, nil)
			p.await(stage+" exists", func() bool { _, err := os.Stat(filepath.Join(dir, stage)); return err == nil })
			p.signal(os.Interrupt)
			p.wantCode(0)
			require.NotContains(t, p.stdout.String(), "ready")
			requireNothingLeft(t, dir)
			up(t, dir, nil).stop() // what is half done does not matter
		})
	}
}

func TestUpEndsWithItsPostgres(t *testing.T) {
	t.Parallel()
	i := up(t, sharedTempDir(t), nil)
	require.NoError(t, syscall.Kill(postmaster(t, i.dir), syscall.SIGKILL))
	i.wantCode(1)
	require.Contains(t, i.stderr.String(), "private Postgres ended by itself")
	up(t, i.dir, nil).stop()
}

// With --observe a Prometheus scrapes all three services. It ends with the rest, also when that is killed, so that the next start has its data.
func TestUpObserve(t *testing.T) {
	t.Parallel()
	_, environ := servers(t)
	tools, err := filepath.Abs("../../bin/tools/prometheus/usr/bin")
	require.NoError(t, err)
	environ = append(environ, "PATH="+os.Getenv("PATH")+":"+tools)
	dir := t.TempDir()
	observed := func() (i *instance, get func(path string) (string, error)) {
		i = up(t, dir, environ, "--observe")
		_, rest, found := strings.Cut(i.stdout.String(), "prometheus http://")
		require.True(t, found, i.stdout.String())
		address, _, _ := strings.Cut(rest, " ")
		return i, func(path string) (string, error) {
			resp, err := http.Get("http://" + address + path)
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			return string(text), err
		}
	}
	i, get := observed()
	i.await("all three are scraped", func() bool {
		text, err := get("/api/v1/query?query=count(beaconpost_build_info)")
		return err == nil && strings.Contains(text, `"3"`)
	})
	rules, err := get("/api/v1/rules")
	require.NoError(t, err)
	require.Contains(t, rules, "BeaconpostDeliveriesUnaccounted")
	i.kill()
	require.Eventually(t, func() bool { _, err := get("/-/ready"); return err != nil }, limit, poll, "Prometheus has ended")

	i, get = observed()
	http.DefaultClient.CloseIdleConnections()
	i.stop()
	_, err = get("/-/ready")
	require.Error(t, err, "it has ended")
}

func TestUpObserveWithoutPrometheus(t *testing.T) {
	t.Parallel()
	_, environ := servers(t)
	p := startUp(t, t.TempDir(), append(environ, "PATH=/nowhere"), "--observe")
	p.wantCode(1)
	require.Contains(t, p.stderr.String(), "no program prometheus on PATH")
}
