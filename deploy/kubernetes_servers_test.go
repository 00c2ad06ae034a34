//go:build kubernetes

package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
	"github.com/beaconpost/beaconpost/deploy/internal/kube"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

// definitions of others' resources, in the modules that their projects publish. A version that is not given is the one of go.mod; the others are what the module
// proxy has, pinned by their checksums.
var definitions = []struct {
	module, version, sum string
	files                []string
}{
	{module: "sigs.k8s.io/gateway-api", files: []string{"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"}},
	{module: "github.com/kedacore/keda/v2", files: []string{"config/crd/bases/keda.sh_scaledobjects.yaml"}},
	{"github.com/external-secrets/external-secrets", "v1.3.2", "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=", []string{"config/crds/bases/external-secrets.io_externalsecrets.yaml"}},
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=", []string{
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	}},
}

// define has the API server know them.
func (k *kubernetes) define(t *testing.T) {
	t.Helper()
	files := []string{"testdata/cnpg-cluster.yaml"}
	for _, d := range definitions {
		args := []string{"mod", "download", "-json", d.module}
		if d.version != "" {
			args[3] += "@" + d.version
		}
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		out, err := cmd.Output()
		require.NoError(t, err, "%s: %s", d.module, out)
		var module struct{ Dir, Sum string }
		require.NoError(t, json.Unmarshal(out, &module))
		if d.sum != "" {
			require.Equal(t, d.sum, module.Sum, d.module)
		}
		for _, file := range d.files {
			files = append(files, filepath.Join(module.Dir, file))
		}
	}
	crds := k.resource(t, schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, "")
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		o := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal(text, &o.Object))
		_, err = crds.Create(t.Context(), o, metav1.CreateOptions{})
		require.NoError(t, err, file)
		require.Eventually(t, func() bool {
			o, err := crds.Get(t.Context(), o.GetName(), metav1.GetOptions{})
			return err == nil && condition(o, "Established") == "True"
		}, patience, 50*time.Millisecond, file)
	}
}

// condition is the status of one of an object's conditions.
func condition(o *unstructured.Unstructured, kind string) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range list {
		if c, ok := entry.(map[string]any); ok && c["type"] == kind {
			return fmt.Sprint(c["status"])
		}
	}
	return ""
}

// postgresServer is Postgres where pods reach it.
type postgresServer struct {
	*pgcluster.Cluster
	address string
}

// startPostgres runs Postgres, whose socket only root and its own user can open, and lets pods in.
func startPostgres(t *testing.T, nodes *kube.Nodes) *postgresServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "beaconpost-k8s-postgres-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cluster, err := pgcluster.Start(t.Context(), pgcluster.Config{Dir: filepath.Join(dir, "data"), Ephemeral: true, Settings: map[string]string{"max_connections": "400"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cluster.Stop(context.WithoutCancel(t.Context()))) })
	u, err := url.Parse(cluster.URL(pgcluster.Superuser, "postgres"))
	require.NoError(t, err)
	ln, err := net.Listen("tcp", net.JoinHostPort(nodes.Outside(), "5432"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			go forward(from, filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432"))
		}
	}()
	return &postgresServer{cluster, ln.Addr().String()}
}

// forward joins a connection and a socket.
func forward(from net.Conn, socket string) {
	defer from.Close()
	to, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_ = from.Close()
	}()
	_, _ = io.Copy(from, to)
}

// database makes an empty one with an owner as CloudNativePG does, and gives the URL for pods.
func (p *postgresServer) database(t *testing.T, name, owner string, asSuperuser ...string) string {
	t.Helper()
	id := pgx.Identifier{owner}.Sanitize()
	p.exec(t, "postgres", `DO $$ BEGIN CREATE ROLE `+id+` LOGIN; EXCEPTION WHEN duplicate_object THEN END $$`)
	p.exec(t, "postgres", `CREATE DATABASE `+pgx.Identifier{name}.Sanitize()+` OWNER `+id)
	for _, sql := range asSuperuser {
		p.exec(t, name, sql)
	}
	return "postgres://" + owner + "@" + p.address + "/" + name + "?sslmode=disable"
}

func (p *postgresServer) exec(t *testing.T, database, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URL(pgcluster.Superuser, database))
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// tables is how many tables of ours a database has.
func (p *postgresServer) tables(t *testing.T, database string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URL(pgcluster.Superuser, database))
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`).Scan(&n))
	return n
}

// startNATS runs a cluster of servers, which pods find under the name, or a single one, and gives the first one's address.
func (k *kubernetes) startNATS(t *testing.T, name string, servers int) string {
	t.Helper()
	hosts := make([]string, servers)
	var routes []string
	for i := range hosts {
		hosts[i] = k.nodes.Outside()
		routes = append(routes, "nats://"+net.JoinHostPort(hosts[i], "6222"))
	}
	for i, host := range hosts {
		dir := filepath.Join(k.dir, "nats-"+host)
		args := []string{"-js", "-sd", dir, "-a", host, "-p", "4222", "-l", dir + ".log", "-n", fmt.Sprintf("%s-%d", name, i)}
		if servers > 1 {
			args = append(args, "--cluster_name", name, "--cluster", "nats://"+net.JoinHostPort(host, "6222"), "--routes", strings.Join(routes, ","))
		}
		server, err := kube.Spawn(exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(k.bin, "nats-server"), args...), dir+".out")
		require.NoError(t, err)
		t.Cleanup(func() { server.Stop(10 * time.Second) })
	}
	k.nodes.Resolve(name, hosts[0])
	return net.JoinHostPort(hosts[0], "4222")
}

// operate does once what the operators of CloudNativePG and External Secrets do for what is in a namespace: a database with its Secret, a Secret from a store. It
// gives what it made, as contents does.
func (k *kubernetes) operate(t *testing.T, namespace string, store map[string]string) (made []string) {
	t.Helper()
	for _, c := range list[chart.Cluster](t, k, schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Cluster"}, namespace) {
		initdb := c.Spec.Bootstrap.InitDB
		uri := k.postgres.database(t, namespace, initdb.Owner, initdb.PostInitApplicationSQL...)
		k.secret(t, namespace, c.Name+"-app", map[string]string{"uri": uri})
		made = append(made, "Secret "+c.Name+"-app")
	}
	for _, e := range list[chart.ExternalSecret](t, k, schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1", Kind: "ExternalSecret"}, namespace) {
		data := map[string]string{}
		for _, d := range e.Spec.Data {
			require.Contains(t, store, d.RemoteRef.Property)
			data[d.SecretKey] = store[d.RemoteRef.Property]
		}
		k.secret(t, namespace, e.Spec.Target.Name, data)
		made = append(made, "Secret "+e.Spec.Target.Name)
	}
	return made
}

func list[T any](t *testing.T, k *kubernetes, kind schema.GroupVersionKind, namespace string) []T {
	t.Helper()
	objects, err := k.resource(t, kind, namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var all []T
	for _, o := range objects.Items {
		text, err := json.Marshal(o.Object)
		require.NoError(t, err)
		var typed T
		require.NoError(t, sigsyaml.Unmarshal(text, &typed))
		all = append(all, typed)
	}
	return all
}
