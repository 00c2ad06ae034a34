//go:build kubernetes

package deploy_test

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// journal is all that happened to Deployments, Jobs and pods of a namespace. What is before what, its resource versions say: etcd counts changes of all kinds.
type journal struct {
	k  *kubernetes
	ns string

	mu          sync.Mutex
	deployments map[string]int64 // when they were made
	jobs        map[string][]int64
	pods        []podChange // in their order
	seen        int64       // up to where pods were seen
}

type podChange struct {
	at        int64
	uid       types.UID
	component string
	ready     bool
	gone      bool // or about to
	created   bool
}

// watch begins one, of a namespace that has nothing yet.
func (k *kubernetes) watch(t *testing.T, namespace string) *journal {
	t.Helper()
	j := &journal{k: k, ns: namespace, deployments: map[string]int64{}, jobs: map[string][]int64{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var watching sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	options := metav1.ListOptions{AllowWatchBookmarks: true}
	for _, start := range []func() (watch.Interface, error){
		func() (watch.Interface, error) { return k.Client.AppsV1().Deployments(namespace).Watch(ctx, options) },
		func() (watch.Interface, error) { return k.Client.BatchV1().Jobs(namespace).Watch(ctx, options) },
		func() (watch.Interface, error) { return k.Client.CoreV1().Pods(namespace).Watch(ctx, options) },
	} {
		w, err := start()
		require.NoError(t, err)
		watching.Go(func() {
			defer w.Stop()
			for event := range w.ResultChan() {
				j.take(event)
			}
		})
	}
	return j
}

func (j *journal) take(event watch.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch o := event.Object.(type) {
	case *apps.Deployment:
		if event.Type == watch.Added {
			j.deployments[o.Name] = revision(o)
		}
	case *batch.Job:
		for _, c := range o.Status.Conditions {
			if event.Type != watch.Deleted && c.Type == batch.JobComplete && c.Status == core.ConditionTrue {
				j.jobs[o.Name] = append(j.jobs[o.Name], revision(o))
			}
		}
	case *core.Pod:
		j.seen = revision(o)
		if event.Type != watch.Bookmark {
			j.pods = append(j.pods, podChange{
				at: revision(o), uid: o.UID, component: o.Labels["app.kubernetes.io/component"], ready: isReady(o),
				gone: event.Type == watch.Deleted || o.DeletionTimestamp != nil, created: event.Type == watch.Added,
			})
		}
	}
}

func revision(o metav1.Object) int64 {
	n, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(err) // it is etcd's revision
	}
	return n
}

func (j *journal) eventually(t *testing.T, is func() bool) {
	t.Helper()
	require.Eventually(t, is, patience, 50*time.Millisecond)
}

// now is the version that the next change is after.
func (j *journal) now(t *testing.T) int64 {
	t.Helper()
	list, err := j.k.Client.CoreV1().Pods(j.ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	n, err := strconv.ParseInt(list.ResourceVersion, 10, 64)
	require.NoError(t, err)
	return n
}

// completed is when a Job of a name was done, after some time.
func (j *journal) completed(t *testing.T, name string, after int64) (at int64) {
	t.Helper()
	j.eventually(t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, at = range j.jobs[name] {
			if at > after {
				return true
			}
		}
		return false
	})
	return at
}

// added is when Deployments were made.
func (j *journal) added(t *testing.T) map[string]int64 {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.deployments)
}

// firstPod is when the first pod of a component was made after some time, 0 if none was.
func (j *journal) firstPod(component string, after int64) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.pods {
		if p.created && p.component == component && p.at > after {
			return p.at
		}
	}
	return 0
}

// replacement is how many pods there were while they were replaced, those that were told to end left out.
type replacement struct{ fewestReady, most int }

// replaced says it by component, from some time until now.
func (j *journal) replaced(t *testing.T, from int64) map[string]replacement {
	t.Helper()
	until := j.now(t)
	time.Sleep(time.Second) // what was seen is behind by less
	j.mu.Lock()
	defer j.mu.Unlock()
	is := map[types.UID]podChange{}
	result := map[string]replacement{}
	for _, p := range j.pods {
		if p.gone {
			delete(is, p.uid)
		} else {
			is[p.uid] = p
		}
		if p.at <= from || p.at > until {
			continue
		}
		var ready, all int
		for _, other := range is {
			if other.component != p.component {
				continue
			}
			all++
			if other.ready {
				ready++
			}
		}
		r, known := result[p.component]
		if !known {
			r = replacement{fewestReady: ready, most: all}
		}
		result[p.component] = replacement{fewestReady: min(r.fewestReady, ready), most: max(r.most, all)}
	}
	delete(result, "migrate")
	require.Len(t, result, 3)
	return result
}
