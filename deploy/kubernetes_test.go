//go:build kubernetes

package deploy_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	scheduling "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
	"github.com/beaconpost/beaconpost/deploy/internal/kube"
	"github.com/beaconpost/beaconpost/pkg/auth"
)

// patience is for what takes seconds: machines of CI are shared.
const patience = 3 * time.Minute

const repository = "ghcr.io/beaconpost/beaconpost"

// TestKubernetes installs the chart into a real API server (`make test-k8s`). Its nodes run the pods' containers in the root of the image, as processes.
func TestKubernetes(t *testing.T) {
	require.Zero(t, os.Geteuid(), "must be root: pods have users and roots of their own")
	k := startKubernetes(t)
	t.Run("objects", k.testObjects)
	t.Run("lifecycle", k.testLifecycle)
	t.Run("examples", k.testExamples)
}

// kubernetes is a cluster with what a cluster has before Beaconpost comes: definitions of others' resources, Postgres, identities.
type kubernetes struct {
	*kube.ControlPlane
	nodes    *kube.Nodes
	dynamic  dynamic.Interface
	mapper   *restmapper.DeferredDiscoveryRESTMapper
	bin, dir string
	chart    string // without the dependency on the chart of NATS, which `helm dependency build` would fetch
	postgres *postgresServer
	identity *auth.LocalKey
}

func startKubernetes(t *testing.T) *kubernetes {
	t.Helper()
	bin, err := filepath.Abs("../bin/tools")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "beaconpost-k8s-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	k := &kubernetes{bin: bin, dir: dir, chart: filepath.Join(dir, "chart")}
	k.ControlPlane, err = kube.Start(t.Context(), bin, dir)
	t.Cleanup(k.Stop)
	require.NoError(t, err)
	k.dynamic, err = dynamic.NewForConfig(k.Config)
	require.NoError(t, err)
	k.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(k.Client.Discovery()))
	k.identity, err = auth.GenerateLocalKey()
	require.NoError(t, err)
	k.copyChart(t)
	k.define(t)
	k.startNodes(t)
	k.postgres = startPostgres(t, k.nodes)
	for _, name := range []string{"p", "q", "production"} {
		_, err = k.Client.SchedulingV1().PriorityClasses().Create(t.Context(), &scheduling.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 1}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	return k
}

// startNodes makes two nodes in each of the regions of large.yaml.
func (k *kubernetes) startNodes(t *testing.T) {
	t.Helper()
	pods := filepath.Join(k.dir, "pods")
	require.NoError(t, os.Mkdir(pods, 0o755))
	k.nodes = kube.NewNodes(k.Client, pods)
	for name, region := range map[string]string{"a": "eu-central-1", "b": "eu-central-1", "c": "us-east-1", "d": "us-east-1"} {
		require.NoError(t, k.nodes.Add(t.Context(), name, map[string]string{core.LabelTopologyRegion: region, core.LabelTopologyZone: name}))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- k.nodes.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func (k *kubernetes) copyChart(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "cp", "-RL", chartDir, k.chart).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.RemoveAll(filepath.Join(k.chart, "charts")))
	file := filepath.Join(k.chart, "Chart.yaml")
	about := read(t, file)
	delete(about, "dependencies")
	text, err := sigsyaml.Marshal(about)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

// namespace makes one that lets in no pod which is not restricted.
func (k *kubernetes) namespace(t *testing.T, name string) {
	t.Helper()
	_, err := k.Client.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
	}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, account := k.Client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		_, authority := k.Client.CoreV1().ConfigMaps(name).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return account == nil && authority == nil
	}, patience, 50*time.Millisecond, "what every namespace has")
}

func (k *kubernetes) secret(t *testing.T, namespace, name string, data map[string]string) {
	t.Helper()
	_, err := k.Client.CoreV1().Secrets(namespace).Create(t.Context(), &core.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// resource is where objects of a kind are.
func (k *kubernetes) resource(t *testing.T, kind schema.GroupVersionKind, namespace string) dynamic.ResourceInterface {
	t.Helper()
	mapping, err := k.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		k.mapper.Reset() // it was defined since
		mapping, err = k.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	require.NoError(t, err)
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return k.dynamic.Resource(mapping.Resource)
	}
	return k.dynamic.Resource(mapping.Resource).Namespace(namespace)
}

// apply has the server take a manifest, or only say whether it would. Fields that it does not know are an error.
func (k *kubernetes) apply(t *testing.T, namespace, manifest string, only bool) error {
	t.Helper()
	o := &unstructured.Unstructured{}
	require.NoError(t, sigsyaml.Unmarshal([]byte(manifest), &o.Object), manifest)
	text, err := json.Marshal(o)
	require.NoError(t, err)
	force := true
	options := metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict, Force: &force}
	if only {
		options.DryRun = []string{metav1.DryRunAll}
	}
	_, err = k.resource(t, o.GroupVersionKind(), namespace).Patch(t.Context(), o.GetName(), "application/apply-patch+yaml", text, options)
	return err
}

// helm runs it as a user would, with values in files.
func (k *kubernetes) helm(t *testing.T, namespace string, values []chart.Values, args ...string) (string, error) {
	t.Helper()
	args = append(args, "--namespace", namespace)
	for _, v := range values {
		text, err := sigsyaml.Marshal(v)
		require.NoError(t, err)
		file, err := os.CreateTemp(k.dir, "values-*.yaml")
		require.NoError(t, err)
		_, err = file.Write(text)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		args = append(args, "--values", file.Name())
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(k.bin, "helm"), args...)
	cmd.Env = []string{"KUBECONFIG=" + k.Kubeconfig, "HOME=" + k.dir}
	started := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("helm %s: %s in %.1f s", args[0], map[bool]string{true: "ok", false: "failed"}[err == nil], time.Since(started).Seconds())
	return string(out), err
}

// must is helm that must succeed.
func (k *kubernetes) must(t *testing.T, namespace string, values []chart.Values, args ...string) {
	t.Helper()
	out, err := k.helm(t, namespace, values, args...)
	require.NoError(t, err, out)
}

// push makes a tag of the image to be had.
func (k *kubernetes) push(t *testing.T, tag string) {
	t.Helper()
	k.nodes.Push(repository+":"+tag, image(t), "beaconpost")
}

// contents are all objects of a namespace, of every kind there is, by kind and name; events are none.
func (k *kubernetes) contents(t *testing.T, namespace string) map[string]bool {
	t.Helper()
	lists, err := k.Client.Discovery().ServerPreferredNamespacedResources()
	require.NoError(t, err)
	all := map[string]bool{}
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		require.NoError(t, err)
		for _, r := range list.APIResources {
			if r.Name == "events" || !slices.Contains(r.Verbs, "list") {
				continue
			}
			objects, err := k.dynamic.Resource(group.WithResource(r.Name)).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err, r.Name)
			for _, o := range objects.Items {
				all[r.Kind+" "+o.GetName()] = true
			}
		}
	}
	return all
}
