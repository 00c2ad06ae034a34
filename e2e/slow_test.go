package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slow opens a connection, sends the start of a request, and then a byte a second until it is closed. It opens another one then.
func slow(ctx context.Context, address, start string, open *atomic.Int64) {
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return
		}
		open.Add(1)
		_, err = conn.Write([]byte(start))
		for err == nil {
			select {
			case <-time.After(time.Second):
				_, err = conn.Write([]byte("x"))
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		open.Add(-1)
		conn.Close()
	}
}

// Slowloris: connections that never finish their request. Half of them drip headers, half have a good key and drip a body.
func TestTenThousandSlowConnectionsDoNotStopIngest(t *testing.T) {
	t.Parallel()
	const connections, events = 10000, 2000
	s := startSystem(t, 1)
	e := s.receive(nil, nil)
	address := strings.TrimPrefix(s.APIURL, "http://")
	head := "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	body := head + "Authorization: Bearer " + s.APIKey + "\r\nContent-Length: 5000\r\n\r\n{"
	ctx, stop := context.WithCancel(t.Context())
	var open atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for i := range connections {
		wg.Go(func() { slow(ctx, address, []string{head + "X-Slow: ", body}[i%2], &open) })
	}
	require.Eventually(t, func() bool { return open.Load() >= connections*9/10 }, 60*time.Second, 10*time.Millisecond)

	load := &traffic{s: s, accepted: map[string]bool{}}
	var slowest atomic.Int64
	var producing sync.WaitGroup
	for p := range producers {
		producing.Go(func() {
			for n := range events / producers {
				start := time.Now()
				load.send(fmt.Sprintf("s%d-%d", p, n))
				if took := int64(time.Since(start)); took > slowest.Load() {
					slowest.Store(took)
				}
			}
		})
	}
	producing.Wait()
	still := open.Load()
	t.Logf("%d events accepted beside %d slow connections, the slowest after %s; %d requests refused", load.count(), still, time.Duration(slowest.Load()), load.refused)
	require.GreaterOrEqual(t, still, int64(connections/2), "the connections were there")
	require.Zero(t, load.refused)
	require.Equal(t, events, load.count())
	resp, err := http.Get("http://" + s.Ingest.Admin + "/readyz")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	stop()
	s.settled(settling)
	load.check(t, e, 0, "healthy")
}
