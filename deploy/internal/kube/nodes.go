package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Nodes run every pod that the scheduler gives to one of them: its only container, whose program is the first file in the root of its image.
type Nodes struct {
	client  kubernetes.Interface
	dir     string
	network int // the second byte of its addresses: several clusters may be on one machine
	work    sync.WaitGroup

	mu     sync.Mutex
	images map[string]string // roots by name
	names  map[string]string // addresses that names resolve to
	pods   map[types.UID]*pod
	count  int // of pods ever
	others int // addresses given to others
}

// NewNodes makes nodes without any, whose pods' files are in dir.
func NewNodes(client kubernetes.Interface, dir string) *Nodes {
	return &Nodes{client: client, dir: dir, network: 64 + rand.IntN(128), images: map[string]string{}, names: map[string]string{}, pods: map[types.UID]*pod{}}
}

// Push has an image to be had from now on: the directory that is its root, whose program is /name.
func (n *Nodes) Push(image, root, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.images[image] = filepath.Join(root, name)
}

// Resolve has pods that start from now on find an address under a name.
func (n *Nodes) Resolve(name, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[name] = address
}

// Add makes a node with eight CPUs and 16 GiB, and labels beside its name.
func (n *Nodes) Add(ctx context.Context, name string, labels map[string]string) error {
	room := core.ResourceList{
		core.ResourceCPU: resource.MustParse("8"), core.ResourceMemory: resource.MustParse("16Gi"), core.ResourcePods: resource.MustParse("110"),
	}
	node := &core.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{core.LabelHostname: name}},
		Status: core.NodeStatus{Capacity: room, Allocatable: room, Conditions: []core.NodeCondition{
			{Type: core.NodeReady, Status: core.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()},
		}},
	}
	for key, value := range labels {
		node.Labels[key] = value
	}
	if _, err := n.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node: %w", err)
	}
	// A node is admitted with the taint that it is not ready. A patch, as controllers write to it meanwhile.
	_, err := n.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"taints":null}}`), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("remove taints of node: %w", err)
	}
	return nil
}

// Run runs pods until ctx ends, then stops what is left of them and returns.
func (n *Nodes) Run(ctx context.Context) error {
	pods := n.client.CoreV1().Pods(metav1.NamespaceAll)
	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return pods.Watch(ctx, options)
		},
	}, &core.Pod{}, 0)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { n.see(ctx, o) },
		UpdateFunc: func(_, o any) { n.see(ctx, o) },
		DeleteFunc: n.forget,
	})
	if err != nil {
		return err
	}
	informer.RunWithContext(ctx)
	n.work.Wait()
	return nil
}

// see is told of every pod, whenever anything of it changes.
func (n *Nodes) see(ctx context.Context, o any) {
	object, ok := o.(*core.Pod)
	if !ok || object.Spec.NodeName == "" || ctx.Err() != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, known := n.pods[object.UID]
	if !known {
		n.count++
		p = newPod(n, object, n.count)
		n.pods[object.UID] = p
		n.work.Go(func() { p.run(ctx) })
	}
	if object.DeletionTimestamp != nil {
		p.end(time.Duration(*object.DeletionGracePeriodSeconds) * time.Second)
	}
}

// forget is told of every pod that is gone; one that is while its process runs was deleted by force.
func (n *Nodes) forget(o any) {
	if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	object, ok := o.(*core.Pod)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, known := n.pods[object.UID]; known {
		p.end(0)
		delete(n.pods, object.UID)
	}
}

// Outside gives an address of this machine that no pod has, for something else to listen at.
func (n *Nodes) Outside() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.others++
	return fmt.Sprintf("127.%d.255.%d", n.network, n.others)
}

// image gives an image's root and program, which are empty if it cannot be had.
func (n *Nodes) image(name string) (root, program string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	path := n.images[name]
	if path == "" {
		return "", ""
	}
	return filepath.Dir(path), filepath.Base(path)
}

// hosts is what a pod's /etc/hosts says.
func (n *Nodes) hosts() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := "127.0.0.1 localhost\n"
	for name, address := range n.names {
		text += address + " " + name + "\n"
	}
	return text
}

// Log is the file with what a pod has written.
func (n *Nodes) Log(namespace, name string) string {
	return filepath.Join(n.dir, namespace+"_"+name+".log")
}

// Reach is the address of this machine where something listens that has the address of a pod.
func Reach(podIP string) string {
	return "127" + podIP[len("10"):]
}
