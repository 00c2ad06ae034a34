package up

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

func serviceNames() []string { return []string{"ingest", "delivery", "monitor"} }

// KnownVariables are the BEACONPOST_ variables of all services and commands.
func KnownVariables() []string {
	known := []string{"BEACONPOST_NATS_URL", "BEACONPOST_POSTGRES_BIN", "BEACONPOST_URL", "BEACONPOST_API_KEY"}
	known = append(known, config.Names(ingest.Config{})...)
	known = append(known, config.Names(delivery.Config{})...)
	return append(known, config.Names(monitor.Config{})...)
}

// configure reads the configuration of the three from one environment: what `up` decides, where the user's own says nothing. It comes
// before anything is started, and a problem that all three have is told once.
func (s *system) configure() error {
	environ, err := s.serviceEnvironment()
	if err != nil {
		return err
	}
	var problems []config.Problem
	for _, into := range []any{&s.ingest, &s.delivery, &s.monitor} {
		err := config.Load(environ, into, KnownVariables())
		several, ok := errors.AsType[*config.Error](err)
		if err != nil && !ok {
			return err
		}
		if ok {
			problems = append(problems, several.Problems...)
		}
	}
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b config.Problem) int { return strings.Compare(a.Error(), b.Error()) })
		return &config.Error{Problems: slices.Compact(problems)}
	}
	return nil
}

func (s *system) startServices(ctx context.Context) error {
	s.complete(&s.ingest.Config)
	s.complete(&s.delivery.Config)
	s.complete(&s.monitor.Config)
	if err := s.add(ctx, "ingest", func() (service.Service, error) { return ingest.New(ctx, s.ingest) }); err != nil {
		return err
	}
	if err := s.add(ctx, "delivery", func() (service.Service, error) { return delivery.New(ctx, s.delivery) }); err != nil {
		return err
	}
	return s.add(ctx, "monitor", func() (service.Service, error) { return monitor.New(ctx, s.monitor) })
}

// complete adds what is known only now, and what no variable says.
func (s *system) complete(c *service.Config) {
	c.DatabaseURL = config.Secret(s.databaseURL)
	c.Version, c.LogWriter, c.NATSOptions = s.version, s.log, s.natsOptions
}

func (s *system) add(ctx context.Context, name string, open func() (service.Service, error)) error {
	svc, err := open()
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.stack.Push(name, 40*time.Second, svc.Stop)
	addr := s.admin[slices.Index(serviceNames(), name)]
	admin, err := httpapi.Serve(ctx, addr, svc.Admin())
	if err != nil {
		return fmt.Errorf("admin port of %s: %w (choose others with --admin-ports)", name, err)
	}
	s.stack.Push("admin port of "+name, 2*time.Second, admin.Stop)
	s.services = append(s.services, svc)
	s.adminAddrs[name] = admin.Addr()
	return nil
}

// serviceEnvironment is the process's, completed by what a machine of its own needs: the private servers, keys in the data directory,
// and permission to reach receivers on loopback.
func (s *system) serviceEnvironment() ([]string, error) {
	environ := slices.DeleteFunc(slices.Clone(s.environ), func(v string) bool {
		return strings.HasPrefix(v, "BEACONPOST_LISTEN=") || strings.HasPrefix(v, "BEACONPOST_ADMIN_LISTEN=")
	})
	set := func(name, value string) {
		if variable(environ, name) == "" {
			environ = append(environ, name+"="+value)
		}
	}
	environ = append(environ, "BEACONPOST_LOG_LEVEL="+s.logLevel)
	set("BEACONPOST_DATABASE_URL", "the private one, once it runs")
	set("BEACONPOST_NETWORK_ALLOW_LOOPBACK", "true")
	set("BEACONPOST_MONITOR_NETWORK_ALLOW_LOOPBACK", "true")
	if variable(environ, "BEACONPOST_SECRETS_KEYS") == "" {
		keys, err := secretsKeys(filepath.Join(s.dir, "secrets.keys"))
		if err != nil {
			return nil, err
		}
		set("BEACONPOST_SECRETS_KEYS", keys)
	}
	if variable(environ, "BEACONPOST_AUTH_JWKS")+variable(environ, "BEACONPOST_AUTH_ISSUER")+variable(environ, "BEACONPOST_AUTH_AUDIENCE") == "" {
		path := filepath.Join(s.dir, LocalKeyFile)
		if _, err := auth.LoadOrCreateLocalKey(path); err != nil {
			return nil, fmt.Errorf("make local key: %w", err)
		}
		set("BEACONPOST_AUTH_JWKS", auth.PublicPath(path))
		set("BEACONPOST_AUTH_ISSUER", LocalIssuer)
		set("BEACONPOST_AUTH_AUDIENCE", LocalAudience)
	}
	return environ, nil
}

// secretsKeys reads the file of sealing keys, or makes one.
func secretsKeys(path string) (string, error) {
	body, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(body)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read sealing keys: %w", err)
	}
	key, err := secretbox.GenerateKey("local")
	if err != nil {
		return "", err
	}
	// Renamed into place: a half-written file would make secrets unreadable for good.
	temporary := path + ".new"
	if err := writeSynced(temporary, key+"\n"); err != nil {
		return "", fmt.Errorf("write sealing keys: %w", err)
	}
	return key, os.Rename(temporary, path)
}

func writeSynced(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// variable gives the last value of name in environ.
func variable(environ []string, name string) string {
	value := ""
	for _, v := range environ {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}
