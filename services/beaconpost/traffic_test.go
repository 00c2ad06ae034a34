package beaconpost_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// traffic runs the demo traffic of `tilt up` for some rounds, against an instance on this machine.
func traffic(t *testing.T, i *instance, good, broken *receiver, rounds string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../deploy/tilt/traffic.sh", i.dir, rounds)
	cmd.Env = append(os.Environ(), "PROGRAM="+binary, "BEACONPOST_URL="+i.URL, "MONITOR_URL="+i.URL, "RECEIVER="+good.url, "RECEIVER_BROKEN="+broken.url, "PAUSE=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "not accepted")
	key, err := os.ReadFile(filepath.Join(i.dir, "api_key"))
	require.NoError(t, err)
	return strings.TrimSpace(string(key))
}

// The first start makes a tenant with all that is needed to see something, the second goes on with it. When the cluster is another, the tenant is.
func TestDemoTraffic(t *testing.T) {
	t.Parallel()
	_, environ := servers(t)
	i := up(t, t.TempDir(), environ)
	good, broken := receive(t, "0"), receive(t, "0")

	key := traffic(t, i, good, broken, "2")
	client := i.client()
	client.Token = key
	var endpoints, monitors, tenants struct {
		Data []struct{ Name string } `json:"data"`
	}
	client.Do(http.MethodGet, "/v1/endpoints", nil).Want(200, &endpoints)
	client.Do(http.MethodGet, "/v1/monitors", nil).Want(200, &monitors)
	require.Len(t, endpoints.Data, 2)
	require.Len(t, monitors.Data, 2)
	i.await("all is delivered", func() bool { return len(unique(good.received())) == 44 && len(unique(broken.received())) == 4 })

	require.Equal(t, key, traffic(t, i, good, broken, "1"))
	require.NoError(t, os.WriteFile(filepath.Join(i.dir, "api_key"), []byte("bp_of_another_cluster"), 0o600))
	require.NotEqual(t, key, traffic(t, i, good, broken, "1"))
	i.operator().Do(http.MethodGet, "/v1/tenants", nil).Want(200, &tenants)
	require.Len(t, tenants.Data, 3, "that of `up`, and one for each of two clusters")
	i.stop()
}

// unique leaves out what came again. Checks have no id.
func unique(ids []string) map[string]bool {
	all := map[string]bool{}
	for _, id := range ids {
		if id != "" {
			all[id] = true
		}
	}
	return all
}
