// Package up runs all of Beaconpost in one process: a private Postgres, an embedded NATS server, migrations and the three services
// behind one address. It owns the order of starting and stopping, the data directory and the demo tenant.
//
//	DIR/postgres/       the private cluster          DIR/nats/        JetStream's files
//	DIR/secrets.keys    keys that seal secrets       DIR/local.jwk    key that signs local JWTs (local.jwks.json: its public half)
//	DIR/prometheus/     with --observe
//	DIR/demo.json       URL and API key of the demo tenant, written when everything is ready
package up

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

// What tokens of the local key say, and where it is in the data directory.
const (
	LocalIssuer   = "beaconpost-local"
	LocalAudience = "beaconpost"
	LocalKeyFile  = "local.jwk"
)

const stopLimit = 60 * time.Second

// Command is `beaconpost up`.
func Command(version string) *cli.Command {
	return &cli.Command{
		Name: "up", Usage: "run everything on this machine",
		Description: "Starts a private Postgres and an embedded NATS in the data directory, migrates, and serves all APIs on one address. Ctrl-C drains and stops\n" +
			"all of it; the next start goes on where it was. BEACONPOST_DATABASE_URL and BEACONPOST_NATS_URL use servers of your own instead.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "where everything is kept", Value: demo.DefaultDataDir()},
			&cli.StringFlag{Name: "listen", Usage: "address of the public API", Value: "127.0.0.1:8080"},
			&cli.StringFlag{Name: "admin-ports", Usage: "ports on 127.0.0.1 for metrics and health of ingest, delivery and monitor, or random", Value: "9090,9091,9092", Validator: func(text string) error {
				_, err := adminAddrs(text)
				return err
			}},
			&cli.BoolFlag{Name: "observe", Usage: "start Prometheus too, which has to be installed, and say where it is"},
			&cli.StringFlag{Name: "log-level", Usage: "trace, debug, info, warn or error", Value: "warn", Sources: cli.EnvVars("BEACONPOST_LOG_LEVEL")},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			admin, err := adminAddrs(cmd.String("admin-ports"))
			if err != nil {
				return err
			}
			return run(ctx, options{
				dir: cmd.String("data-dir"), listen: cmd.String("listen"), admin: admin, logLevel: cmd.String("log-level"),
				version: version, environ: os.Environ(), observe: cmd.Bool("observe"), out: cmd.Root().Writer, log: os.Stderr,
			})
		},
	}
}

// adminAddrs reads --admin-ports: one port per service, in the order of serviceNames.
func adminAddrs(text string) ([]string, error) {
	if text == "random" {
		return []string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}, nil
	}
	ports := strings.Split(text, ",")
	wrong := len(ports) != len(serviceNames())
	addrs := make([]string, len(ports))
	for i, port := range ports {
		port = strings.TrimSpace(port)
		number, err := strconv.ParseUint(port, 10, 16)
		wrong = wrong || err != nil || number == 0
		addrs[i] = "127.0.0.1:" + port
	}
	if wrong {
		return nil, errors.New("expected random, or three ports such as 9090,9091,9092")
	}
	return addrs, nil
}
