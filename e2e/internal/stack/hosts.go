package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Host is where a process runs, if that is not here.
type Host struct {
	Name    string   // of one word
	Address string   // that others reach it at
	Enter   []string // command in front of the one that is to run there; it becomes that one, with the same process id
}

// natsPort is that of a cluster's servers, for clients; the next one is for routes, and the one after for monitoring.
const natsPort = 4222

// Launch starts one more process of a service at a host, and waits until it is ready. as is what its log is called, extra are variables of its own.
func (s *Stack) Launch(ctx context.Context, at Host, service, as string, extra ...string) (*Process, error) {
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = FreePort(ctx); err != nil {
			return nil, err
		}
	}
	return s.launch(ctx, at, service, as, fmt.Sprintf("%s:%d", at.Address, ports[0]), fmt.Sprintf("%s:%d", at.Address, ports[1]), extra...)
}

// startBrokers starts all servers of the cluster: none is ready before most are.
func (s *Stack) startBrokers(ctx context.Context) error {
	errs := make([]error, len(s.Brokers))
	var all sync.WaitGroup
	for n := range s.Brokers {
		all.Go(func() { errs[n] = s.StartBroker(ctx, n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// StartBroker starts the nth server of the cluster, for the first time or again, and waits until it has caught up with the others.
func (s *Stack) StartBroker(ctx context.Context, n int) (err error) {
	at := s.cfg.Brokers[n]
	file := filepath.Join(s.cfg.Dir, at.Name+".conf")
	if err := os.WriteFile(file, []byte(s.brokerConfig(at)), 0o600); err != nil {
		return err
	}
	if s.Brokers[n], err = s.spawnAt(at, at.Name, s.cfg.Binaries.NATSServer, os.Environ(), "-c", file); err != nil {
		return err
	}
	return s.Brokers[n].await(ctx, func() bool {
		_, err := Get(ctx, fmt.Sprintf("http://%s:%d/healthz", at.Address, s.natsPort+2))
		return err == nil
	})
}

// BrokerDir is where the nth server keeps its streams.
func (s *Stack) BrokerDir(n int) string { return filepath.Join(s.cfg.Dir, s.cfg.Brokers[n].Name) }

// brokerConfig is as the NATS chart has it, as far as it matters here: the times of lame-duck mode, in which a server that is to stop sends its clients away little by little.
func (s *Stack) brokerConfig(at Host) string {
	return fmt.Sprintf(`server_name: %q
listen: "%s:%d"
http: "%s:%d"
jetstream { store_dir: %q }
cluster { name: "beaconpost", listen: "%s:%d", routes: [%s] }
lame_duck_grace_period: "10s"
lame_duck_duration: "30s"
`, at.Name, at.Address, s.natsPort, at.Address, s.natsPort+2, filepath.Join(s.cfg.Dir, at.Name), at.Address, s.natsPort+1, s.clusterURL(s.natsPort+1))
}

func (s *Stack) clusterURL(port int) string {
	var urls []string
	for _, at := range s.cfg.Brokers {
		urls = append(urls, fmt.Sprintf("nats://%s:%d", at.Address, port))
	}
	return strings.Join(urls, ",")
}
