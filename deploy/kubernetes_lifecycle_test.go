//go:build kubernetes

package deploy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	autoscaling "k8s.io/api/autoscaling/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
	"github.com/beaconpost/beaconpost/pkg/auth"
)

// lifecycle is an installation with its own Postgres and NATS, under traffic.
type lifecycle struct {
	*kubernetes
	ns      string
	values  chart.Values
	journal *journal
	traffic *traffic
}

// testLifecycle installs, upgrades, fails to upgrade, rolls back, scales and uninstalls. Events are sent all the time, and none may be refused or lost.
func (k *kubernetes) testLifecycle(t *testing.T) {
	l := &lifecycle{kubernetes: k, ns: "lifecycle"}
	k.namespace(t, l.ns)
	url := k.postgres.database(t, l.ns, "beaconpost", "ALTER ROLE beaconpost CREATEROLE")
	k.secret(t, l.ns, "beaconpost", map[string]string{
		"BEACONPOST_DATABASE_URL": url, "BEACONPOST_NATS_URL": "nats://" + k.startNATS(t, "lifecycle-nats", 1), "BEACONPOST_SECRETS_KEYS": key(t),
	})
	k.secret(t, l.ns, "broken", map[string]string{"BEACONPOST_DATABASE_URL": "postgres://beaconpost@127.0.0.1:1/none?connect_timeout=1"})
	for _, tag := range []string{"one", "two"} {
		k.push(t, tag)
	}
	l.values = chart.Over(parse(t, external), k.identities(t))
	before := k.contents(t, l.ns)
	l.journal = k.watch(t, l.ns)

	t.Run("install", l.install)
	l.traffic = k.send(t, l.ns)
	t.Run("upgrade", l.upgrade)
	t.Run("evict", l.evict)
	t.Run("failing migration", l.failingMigration)
	t.Run("missing image", l.missingImage)
	t.Run("rollback", l.rollback)
	t.Run("autoscaler", l.autoscaler)
	l.traffic.finish(t)
	t.Run("uninstall", func(t *testing.T) { k.uninstall(t, l.ns, before) })
}

// identities are values that accept tokens of the test's own key, and endpoints of this machine.
func (k *kubernetes) identities(t *testing.T) chart.Values {
	t.Helper()
	public, err := k.identity.PublicJWKS()
	require.NoError(t, err)
	return chart.Values{
		"auth":   map[string]any{"jwks": string(public), "jwksURL": "", "issuer": "test", "audience": "beaconpost"},
		"config": map[string]any{"BEACONPOST_NETWORK_ALLOW_LOOPBACK": "true", "BEACONPOST_NETWORK_HTTPS_ONLY": "false"},
	}
}

// operator is a token of somebody who may make tenants.
func (k *kubernetes) operator(t *testing.T) string {
	t.Helper()
	token, err := auth.Mint(k.identity, auth.Claims{Subject: "test", Issuer: "test", Audience: "beaconpost", TTL: time.Hour, Scopes: auth.Scopes{auth.ScopeOperator}})
	require.NoError(t, err)
	return token
}

// with adds to the values of the installation.
func (l *lifecycle) with(t *testing.T, text string) []chart.Values {
	t.Helper()
	return []chart.Values{l.values, parse(t, text)}
}

// The migration is a hook that runs to its end before anything else is there; what it leaves is a schema.
func (l *lifecycle) install(t *testing.T) {
	require.Zero(t, l.postgres.tables(t, l.ns))
	l.must(t, l.ns, l.with(t, `image: {tag: one}`), "install", chart.Release, l.chart, "--wait", "--timeout", "5m")
	require.NotZero(t, l.postgres.tables(t, l.ns))
	require.Equal(t, map[string]int{"ingest:one": 2, "delivery:one": 2, "monitor:one": 2}, l.running(t))
	migrated := l.journal.completed(t, prefix+"-migrate", 0)
	require.NotEmpty(t, l.journal.added(t))
	for name, at := range l.journal.added(t) {
		require.Greater(t, at, migrated, "%s was there before the schema", name)
	}
	l.requireNoJobs(t)
}

// requireNoJobs wants hooks that succeeded to be gone.
func (l *lifecycle) requireNoJobs(t *testing.T) {
	t.Helper()
	jobs, err := l.Client.BatchV1().Jobs(l.ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, jobs.Items)
}

// Pods are replaced one by one, and there are never fewer that are ready than wanted, nor more than one too many.
func (l *lifecycle) upgrade(t *testing.T) {
	from := l.journal.now(t)
	l.must(t, l.ns, l.with(t, `image: {tag: two}`), "upgrade", chart.Release, l.chart, "--wait", "--timeout", "5m")
	require.Equal(t, map[string]int{"ingest:two": 2, "delivery:two": 2, "monitor:two": 2}, l.running(t))
	migrated := l.journal.completed(t, prefix+"-migrate", from)
	l.journal.eventually(t, func() bool { return l.journal.firstPod("ingest", from) > 0 })
	require.Greater(t, l.journal.firstPod("ingest", from), migrated, "a new pod was there before the schema")
	l.requireNoJobs(t)
	for component, n := range l.journal.replaced(t, from) {
		require.Equal(t, replacement{fewestReady: 2, most: 3}, n, component)
	}
	l.traffic.requireAccepted(t)
}

// One pod may be evicted at a time.
func (l *lifecycle) evict(t *testing.T) {
	require.Eventually(t, func() bool {
		budget, err := l.Client.PolicyV1().PodDisruptionBudgets(l.ns).Get(t.Context(), prefix+"-ingest", metav1.GetOptions{})
		return err == nil && budget.Status.CurrentHealthy == 2 && budget.Status.DisruptionsAllowed == 1
	}, patience, 50*time.Millisecond)
	pods := l.of(t, "ingest")
	require.Len(t, pods, 2)
	evict := func(pod core.Pod) error {
		return l.Client.PolicyV1().Evictions(l.ns).Evict(t.Context(), &policy.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: l.ns}})
	}
	require.NoError(t, evict(pods[0]))
	require.True(t, apierrors.IsTooManyRequests(evict(pods[1])), "the second of two")
	require.Eventually(t, func() bool { return l.running(t)["ingest:two"] == 2 }, patience, 200*time.Millisecond)
	l.traffic.requireAccepted(t)
}

// A migration that fails ends the upgrade before any pod is touched, and its Job stays, with the reason.
func (l *lifecycle) failingMigration(t *testing.T) {
	before := l.identitiesOfPods(t)
	out, err := l.helm(t, l.ns, l.with(t, `{image: {tag: one}, migrations: {secretName: broken, backoffLimit: 1}}`), "upgrade", chart.Release, l.chart, "--timeout", "5m")
	require.Error(t, err)
	require.Contains(t, out, "pre-upgrade hooks failed")
	require.Equal(t, before, l.identitiesOfPods(t))
	job, err := l.Client.BatchV1().Jobs(l.ns).Get(t.Context(), prefix+"-migrate", metav1.GetOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 0, job.Status.Succeeded)
	l.traffic.requireAccepted(t)
}

// An image that cannot be had replaces nothing that runs: neither the hook's, nor, without a hook, that of pods.
func (l *lifecycle) missingImage(t *testing.T) {
	before := l.identitiesOfPods(t)
	_, err := l.helm(t, l.ns, l.with(t, `image: {tag: never-pushed}`), "upgrade", chart.Release, l.chart, "--timeout", "10s")
	require.Error(t, err)
	require.Equal(t, before, l.identitiesOfPods(t))
	_, err = l.helm(t, l.ns, l.with(t, `{image: {tag: never-pushed}, migrations: {enabled: false}}`), "upgrade", chart.Release, l.chart, "--wait", "--timeout", "10s")
	require.Error(t, err)
	require.Equal(t, before, l.identitiesOfPods(t))
	l.traffic.requireAccepted(t)
}

// The first revision comes back.
func (l *lifecycle) rollback(t *testing.T) {
	from := l.journal.now(t)
	l.must(t, l.ns, nil, "rollback", chart.Release, "1", "--wait", "--timeout", "5m")
	require.Equal(t, map[string]int{"ingest:one": 2, "delivery:one": 2, "monitor:one": 2}, l.running(t))
	for component, n := range l.journal.replaced(t, from) {
		require.Equal(t, 2, n.fewestReady, component)
	}
	// After that upgrades work again, and take away the Job that failed.
	l.must(t, l.ns, l.with(t, `image: {tag: two}`), "upgrade", chart.Release, l.chart, "--wait", "--timeout", "5m")
	require.Equal(t, map[string]int{"ingest:two": 2, "delivery:two": 2, "monitor:two": 2}, l.running(t))
	l.requireNoJobs(t)
	l.traffic.requireAccepted(t)
}

// The autoscaler sees to its minimum, and an upgrade does not touch what was scaled.
func (l *lifecycle) autoscaler(t *testing.T) {
	scaled := l.with(t, `{image: {tag: two}, ingest: {autoscaling: {enabled: true, minReplicas: 3}}}`)
	l.must(t, l.ns, scaled, "upgrade", chart.Release, l.chart, "--timeout", "5m")
	require.Eventually(t, func() bool { return l.running(t)["ingest:two"] == 3 }, patience, 200*time.Millisecond)
	_, err := l.Client.AppsV1().Deployments(l.ns).UpdateScale(t.Context(), prefix+"-ingest", &autoscaling.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: prefix + "-ingest", Namespace: l.ns}, Spec: autoscaling.ScaleSpec{Replicas: 4},
	}, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.running(t)["ingest:two"] == 4 }, patience, 200*time.Millisecond)
	from := l.journal.now(t)
	scaled = append(scaled, parse(t, `image: {tag: one}`))
	l.must(t, l.ns, scaled, "upgrade", chart.Release, l.chart, "--wait", "--timeout", "5m")
	require.Equal(t, 4, l.running(t)["ingest:one"])
	require.Equal(t, replacement{fewestReady: 4, most: 5}, l.journal.replaced(t, from)["ingest"])

	// Without the autoscaler the number is the chart's again.
	l.must(t, l.ns, l.with(t, `image: {tag: one}`), "upgrade", chart.Release, l.chart, "--wait", "--timeout", "5m")
	require.Equal(t, 2, l.running(t)["ingest:one"])
	l.traffic.requireAccepted(t)
}

// uninstall wants everything gone that was not there before.
func (k *kubernetes) uninstall(t *testing.T, namespace string, before map[string]bool) {
	t.Helper()
	k.must(t, namespace, nil, "uninstall", chart.Release, "--wait", "--timeout", "5m")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		left := k.contents(t, namespace)
		maps.DeleteFunc(left, func(what string, _ bool) bool { return before[what] })
		assert.Empty(c, left)
	}, patience, time.Second)
}

// of are the pods of a component that are not being deleted.
func (l *lifecycle) of(t *testing.T, component string) []core.Pod { return l.pods(t, l.ns, component) }

func (k *kubernetes) pods(t *testing.T, namespace, component string) []core.Pod {
	t.Helper()
	pods, err := k.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + component})
	require.NoError(t, err)
	return slices.DeleteFunc(pods.Items, func(pod core.Pod) bool { return pod.DeletionTimestamp != nil })
}

// running is how many pods are ready, by component and tag.
func (l *lifecycle) running(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, component := range []string{"ingest", "delivery", "monitor"} {
		for _, pod := range l.of(t, component) {
			if isReady(&pod) {
				n[component+":"+strings.TrimPrefix(pod.Spec.Containers[0].Image, repository+":")]++
			}
		}
	}
	return n
}

// identitiesOfPods are those that are ready, with how often they were started again.
func (l *lifecycle) identitiesOfPods(t *testing.T) map[string]int32 {
	t.Helper()
	all := map[string]int32{}
	for _, component := range []string{"ingest", "delivery", "monitor"} {
		for _, pod := range l.of(t, component) {
			if isReady(&pod) {
				all[string(pod.UID)] = pod.Status.ContainerStatuses[0].RestartCount
			}
		}
	}
	return all
}

func isReady(pod *core.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c core.PodCondition) bool { return c.Type == core.PodReady && c.Status == core.ConditionTrue })
}
