//go:build kubernetes

package deploy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batch "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// example is what becomes of one of the files.
type example struct {
	nats   int            // servers
	hosted bool           // Postgres and NATS are somebody else's
	pods   map[string]int // by component, when nothing else is to happen
}

var examples = map[string]example{
	"laptop": {nats: 1, pods: map[string]int{"ingest": 1, "delivery": 1, "monitor": 1}},
	"small":  {nats: 3, pods: map[string]int{"ingest": 2, "delivery": 2, "monitor": 2}},
	// KEDA would make the four of delivery: there is none here, and a Deployment without a number is one of 1.
	"large": {nats: 3, hosted: true, pods: map[string]int{"ingest": 4, "delivery": 1, "monitor": 6}},
}

// testExamples installs each with what it asks for, where the release brings its own database or Secret: services wait until operators have made it.
func (k *kubernetes) testExamples(t *testing.T) {
	k.push(t, "one")
	k.push(t, "two")
	for name, e := range examples {
		t.Run(name, func(t *testing.T) { k.testExample(t, name, e) })
	}
}

func (k *kubernetes) testExample(t *testing.T, name string, e example) {
	k.namespace(t, name)
	values := []chart.Values{read(t, chartDir+"/examples/"+name+".yaml"), k.identities(t), parse(t, `image: {tag: one}`)}
	natsName := chart.Release + "-nats"
	if e.hosted {
		natsName = "hosted-nats"
	}
	store := map[string]string{
		"BEACONPOST_NATS_URL": "nats://" + k.startNATS(t, natsName, e.nats), "BEACONPOST_SECRETS_KEYS": key(t), "BEACONPOST_SMTP_PASSWORD": "p",
	}
	if e.hosted {
		url := k.postgres.database(t, name, "beaconpost", "ALTER ROLE beaconpost CREATEROLE")
		store["BEACONPOST_DATABASE_URL"] = url
		k.secret(t, name, "beaconpost-owner", map[string]string{"BEACONPOST_DATABASE_URL": url})
	} else {
		k.secret(t, name, "beaconpost", map[string]string{"BEACONPOST_SECRETS_KEYS": store["BEACONPOST_SECRETS_KEYS"]})
	}
	before := k.contents(t, name)

	k.must(t, name, values, "install", chart.Release, k.chart, "--timeout", "5m")
	k.requireWaiting(t, name, e)
	made := k.operate(t, name, store)
	k.requireRunning(t, name, e.pods)
	k.requireMigrated(t, name, "the first migration is no hook")
	k.requireReached(t, name, e.pods)

	k.must(t, name, append(values, parse(t, `image: {tag: two}`)), "upgrade", chart.Release, k.chart, "--wait", "--timeout", "5m")
	require.Empty(t, k.jobs(t, name), "the hook succeeded, and the release's own Job is no part of it any more")
	k.requireRunning(t, name, e.pods)
	k.requireImage(t, name, e.pods, "two")

	k.must(t, name, nil, "rollback", chart.Release, "1", "--wait", "--wait-for-jobs", "--timeout", "5m")
	k.requireMigrated(t, name, "the first revision's Job finds a newer schema, and leaves it")
	k.requireRunning(t, name, e.pods)
	k.requireImage(t, name, e.pods, "one")
	for _, what := range made {
		before[what] = true // the operators' garbage, which takes them away with what they were made for
	}
	k.uninstall(t, name, before)
}

// requireWaiting wants pods to wait for the Secret that they read.
func (k *kubernetes) requireWaiting(t *testing.T, namespace string, e example) {
	t.Helper()
	components := []string{"ingest", "delivery", "monitor"}
	if !e.hosted {
		components = append(components, "migrate")
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for _, component := range components {
			pods := k.pods(t, namespace, component)
			assert.NotEmpty(c, pods, component)
			for _, pod := range pods {
				if !assert.NotEmpty(c, pod.Status.ContainerStatuses, pod.Name) {
					return
				}
				waiting := pod.Status.ContainerStatuses[0].State.Waiting
				if assert.NotNil(c, waiting, pod.Name) {
					assert.Equal(c, "CreateContainerConfigError", waiting.Reason)
				}
			}
		}
	}, patience, 200*time.Millisecond)
}

func (k *kubernetes) requireRunning(t *testing.T, namespace string, want map[string]int) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		is := map[string]int{}
		for component := range want {
			for _, pod := range k.pods(t, namespace, component) {
				if isReady(&pod) {
					is[component]++
				}
			}
		}
		assert.Equal(c, want, is)
	}, patience, 200*time.Millisecond)
}

// requireMigrated wants the release's own Job to be there and done, which it says later than services find the schema.
func (k *kubernetes) requireMigrated(t *testing.T, namespace, why string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		if jobs := k.jobs(t, namespace); assert.Len(c, jobs, 1, why) {
			assert.EqualValues(c, 1, jobs[0].Status.Succeeded, why)
		}
	}, patience, 200*time.Millisecond)
}

func (k *kubernetes) requireImage(t *testing.T, namespace string, components map[string]int, tag string) {
	t.Helper()
	for component := range components {
		for _, pod := range k.pods(t, namespace, component) {
			require.Equal(t, repository+":"+tag, pod.Spec.Containers[0].Image, pod.Name)
		}
	}
}

// requireReached wants Services to lead to all pods of theirs, and each pod to be on a node of its region.
func (k *kubernetes) requireReached(t *testing.T, namespace string, want map[string]int) {
	t.Helper()
	for component, n := range want {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			endpoints, err := k.endpoints(t.Context(), namespace, prefix+"-"+component)
			assert.NoError(c, err)
			assert.Len(c, endpoints, n, component)
		}, patience, 200*time.Millisecond)
		for _, pod := range k.pods(t, namespace, component) {
			node, err := k.Client.CoreV1().Nodes().Get(t.Context(), pod.Spec.NodeName, metav1.GetOptions{})
			require.NoError(t, err)
			for key, value := range pod.Spec.NodeSelector {
				require.Equal(t, value, node.Labels[key], pod.Name)
			}
		}
	}
}

func (k *kubernetes) jobs(t *testing.T, namespace string) []batch.Job {
	t.Helper()
	jobs, err := k.Client.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	return jobs.Items
}
