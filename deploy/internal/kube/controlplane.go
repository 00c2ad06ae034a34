package kube

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	startLimit = 3 * time.Minute // machines of CI are shared
	stopLimit  = 20 * time.Second
	token      = "of-this-test" // of whoever may do everything, on a server that only this machine reaches
)

// ControlPlane is a cluster without nodes.
type ControlPlane struct {
	Kubeconfig string // path of a file for whoever may do everything
	Config     *rest.Config
	Client     kubernetes.Interface

	bin, dir  string
	etcd, api string // addresses
	processes []*Process
}

// Start runs etcd, the API server, the controllers and the scheduler, whose programs are in a directory, and returns when the API answers. What they write,
// their logs too, is in dir. Stop it, also after an error if it is not nil.
func Start(ctx context.Context, bin, dir string) (*ControlPlane, error) {
	c := &ControlPlane{bin: bin, dir: dir}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, step := range []func(context.Context) error{c.startEtcd, c.startAPI, c.connect, c.startControllers} {
		if err := step(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Stop ends all of it.
func (c *ControlPlane) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].Stop(stopLimit)
	}
}

func (c *ControlPlane) run(name string, args ...string) error {
	p, err := Spawn(command(filepath.Join(c.bin, name), args...), filepath.Join(c.dir, name+".log"))
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return err
}

func (c *ControlPlane) startEtcd(ctx context.Context) error {
	client, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	peer, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	c.etcd = "http://" + client
	return c.run("etcd", "--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--listen-client-urls="+c.etcd, "--advertise-client-urls="+c.etcd,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=default=http://"+peer)
}

func (c *ControlPlane) startAPI(ctx context.Context) error {
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	c.api = "https://" + address
	if err := c.writeKeys(); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return c.run("kube-apiserver", "--etcd-servers="+c.etcd, "--bind-address="+host, "--secure-port="+port, "--advertise-address="+host, "--cert-dir="+c.dir,
		"--token-auth-file="+c.path("tokens.csv"), "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
		"--service-account-issuer="+c.api, "--service-account-key-file="+c.path("accounts.pem"), "--service-account-signing-key-file="+c.path("accounts.pem"))
}

func (c *ControlPlane) path(name string) string { return filepath.Join(c.dir, name) }

// writeKeys makes the token of whoever may do everything, and the key that signs tokens of service accounts.
func (c *ControlPlane) writeKeys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return errors.Join(os.WriteFile(c.path("accounts.pem"), text, 0o600), os.WriteFile(c.path("tokens.csv"), []byte(token+",test,test,system:masters\n"), 0o600))
}

// connect waits for the API server, which has signed its own certificate, and writes how it is reached.
func (c *ControlPlane) connect(ctx context.Context) error {
	c.Kubeconfig = c.path("kubeconfig")
	text := `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "` + c.api + `", certificate-authority: "` + c.path("apiserver.crt") + `"}}]
users: [{name: test, user: {token: "` + token + `"}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`
	if err := os.WriteFile(c.Kubeconfig, []byte(text), 0o600); err != nil {
		return err
	}
	return c.await(ctx, func() (err error) {
		if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
			return err
		}
		c.Config.QPS, c.Config.Burst = 200, 400
		if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
			return err
		}
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// await tries until it succeeds, as long as everything that was started runs.
func (c *ControlPlane) await(ctx context.Context, try func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			select {
			case <-p.done:
				return fmt.Errorf("%s has ended (%s); see its log in %s", p.cmd.Path, p.cmd.ProcessState, c.dir)
			default:
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// startControllers leaves out what would need a cloud, and who would doubt nodes that send no heartbeats.
func (c *ControlPlane) startControllers(context.Context) error {
	err := c.run("kube-controller-manager", "--kubeconfig="+c.Kubeconfig, "--leader-elect=false", "--secure-port=0", "--controllers=*,-node-lifecycle-controller",
		"--service-account-private-key-file="+c.path("accounts.pem"), "--root-ca-file="+c.path("apiserver.crt"), "--horizontal-pod-autoscaler-sync-period=2s",
		"--concurrent-deployment-syncs=5")
	if err != nil {
		return err
	}
	return c.run("kube-scheduler", "--kubeconfig="+c.Kubeconfig, "--leader-elect=false", "--secure-port=0")
}

// freeAddress is a port that nobody listens on now.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
