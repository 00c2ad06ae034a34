//go:build kubernetes

package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/beaconpost/beaconpost/deploy/internal/kube"
)

const (
	proxyLag      = time.Second // how late proxies hear of pods
	betweenEvents = 50 * time.Millisecond
)

// traffic sends events to the Service of ingest, as something in the cluster would: to a pod that was ready a moment ago, over a connection of its own. It does not
// repeat what is refused.
type traffic struct {
	k      *kubernetes
	ns     string
	stop   context.CancelFunc
	ended  sync.WaitGroup
	client *http.Client

	mu        sync.Mutex
	endpoints []string // of the Service, as the proxy knows them
	accepted  []string // ids
	refused   []string // why
	delivered map[string]bool
}

// send makes a tenant with an endpoint, and sends until it is told to finish.
func (k *kubernetes) send(t *testing.T, namespace string) *traffic {
	t.Helper()
	tr := &traffic{k: k, ns: namespace, delivered: map[string]bool{}, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.delivered[r.Header.Get("Webhook-Id")] = true
	}))
	t.Cleanup(receiver.Close)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	tr.stop = cancel
	t.Cleanup(func() {
		cancel()
		tr.ended.Wait()
	})
	require.NoError(t, tr.look(ctx))
	var tenant struct {
		Key string `json:"api_key"`
	}
	require.NoError(t, tr.call(ctx, k.operator(t), "/v1/tenants", map[string]string{"name": "shop"}, &tenant))
	require.NoError(t, tr.call(ctx, tenant.Key, "/v1/endpoints", map[string]string{"url": receiver.URL}, &struct{}{}))
	tr.ended.Go(func() { tr.proxy(ctx) })
	tr.ended.Go(func() { tr.events(ctx, tenant.Key) })
	return tr
}

// proxy looks where the Service leads from time to time.
func (tr *traffic) proxy(ctx context.Context) {
	for ctx.Err() == nil {
		_ = tr.look(ctx) // then it is where it was
		select {
		case <-ctx.Done():
		case <-time.After(proxyLag):
		}
	}
}

func (tr *traffic) look(ctx context.Context) error {
	endpoints, err := tr.k.endpoints(ctx, tr.ns, prefix+"-ingest")
	if err != nil {
		return err
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.endpoints = endpoints
	return nil
}

// endpoints are the addresses where the ready pods behind a Service listen.
func (k *kubernetes) endpoints(ctx context.Context, namespace, service string) ([]string, error) {
	slices, err := k.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discovery.LabelServiceName + "=" + service})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				all = append(all, net.JoinHostPort(kube.Reach(e.Addresses[0]), strconv.Itoa(int(*slice.Ports[0].Port))))
			}
		}
	}
	return all, nil
}

func (tr *traffic) events(ctx context.Context, key string) {
	tick := time.NewTicker(betweenEvents)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var event struct {
			ID string `json:"id"`
		}
		err := tr.call(context.WithoutCancel(ctx), key, "/v1/events", map[string]any{"event_type": "order.paid", "payload": map[string]int{"order": 42}}, &event)
		tr.mu.Lock()
		if err != nil {
			tr.refused = append(tr.refused, time.Now().Format(time.TimeOnly)+" "+err.Error())
		} else {
			tr.accepted = append(tr.accepted, event.ID)
		}
		tr.mu.Unlock()
	}
}

// call posts to one of the pods.
func (tr *traffic) call(ctx context.Context, token, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	tr.mu.Lock()
	var address string
	if len(tr.endpoints) > 0 {
		address = tr.endpoints[rand.IntN(len(tr.endpoints))]
	}
	tr.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := tr.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s %s", path, resp.Status, answer)
	}
	return json.Unmarshal(answer, into)
}

// requireAccepted wants that events were sent since the last time, and none refused.
func (tr *traffic) requireAccepted(t *testing.T) {
	t.Helper()
	tr.mu.Lock()
	before := len(tr.accepted)
	tr.mu.Unlock()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		assert.Greater(c, len(tr.accepted), before+5, "events go on")
	}, patience, 50*time.Millisecond)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	require.Empty(t, tr.refused)
}

// finish stops sending. All that was accepted arrives.
func (tr *traffic) finish(t *testing.T) {
	t.Helper()
	tr.stop()
	tr.ended.Wait()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		missing := 0
		for _, id := range tr.accepted {
			if !tr.delivered[id] {
				missing++
			}
		}
		assert.Zero(c, missing, "of %d", len(tr.accepted))
	}, patience, 100*time.Millisecond)
	t.Logf("%d events were accepted and delivered, %d refused", len(tr.accepted), len(tr.refused))
}
