// Package listen is `beaconpost listen`, a webhook receiver for development: it verifies, shows and answers what comes, and fails, hangs
// or is slow on purpose.
//
// It owns the Receiver and how requests are shown. It is no part of any service and knows the public API only as a client.
package listen

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

const description = `Answers webhooks and shows each request: when, what, which attempt, whether the signature is right.
With --register it creates an endpoint for itself and deletes it on exit; pending deliveries of the endpoint are cancelled then.

  beaconpost listen --register --event-type 'order.*'      receive order events of the local beaconpost up
  beaconpost listen --register --fail 2 --retry-after 5s   fail twice per event, then accept
  beaconpost listen --secret whsec_… --json --max 1        wait for one webhook of an existing endpoint`

// Command is `beaconpost listen`.
func Command() *cli.Command {
	return &cli.Command{
		Name: "listen", Usage: "receive webhooks on this machine, for development", Description: description,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "address; port 0 takes a free one", Value: "127.0.0.1:9999"},
			&cli.StringSliceFlag{Name: "secret", Usage: "signing secret `whsec_…` of the endpoint, repeatable; without one nothing is verified"},
			&cli.IntFlag{Name: "status", Usage: "answer with this status", Value: http.StatusOK},
			&cli.IntFlag{Name: "fail", Usage: "fail the first `N` requests of each webhook-id"},
			&cli.IntFlag{Name: "fail-status", Usage: "status of those", Value: http.StatusServiceUnavailable},
			&cli.DurationFlag{Name: "retry-after", Usage: "ask to wait, on answers other than 2xx"},
			&cli.DurationFlag{Name: "delay", Usage: "wait before each answer"},
			&cli.BoolFlag{Name: "hang", Usage: "never answer; requests are shown when the client gives up"},
			&cli.IntFlag{Name: "max", Usage: "exit after `N` requests were accepted; 0: never"},
			&cli.BoolFlag{Name: "json", Usage: "write one JSON object per line, and everything else to standard error"},
			&cli.StringFlag{Name: "body-limit", Usage: "how much of a body to show without --json", Value: "1KiB"},
			&cli.BoolFlag{Name: "register", Usage: "create an endpoint for this receiver, delete it on exit"},
			&cli.StringSliceFlag{Name: "event-type", Usage: "with --register: event type or prefix such as order.*, repeatable; all unless given"},
			&cli.StringFlag{Name: "public-url", Usage: "with --register: `URL` where Beaconpost reaches this receiver, if not at the address listened on"},
		}, demo.Flags()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			s, err := settingsOf(cmd)
			if err != nil {
				return err
			}
			return s.run(ctx)
		},
	}
}

// settings are what the command line says.
type settings struct {
	options    Options
	address    string
	output     Output
	notes      io.Writer // for people
	register   bool
	eventTypes []string
	publicURL  string
	client     demo.Client   // with register
	grace      time.Duration // between the last accepted request and deleting the endpoint
}

func settingsOf(cmd *cli.Command) (settings, error) {
	s := settings{
		options: Options{
			Secrets: cmd.StringSlice("secret"), Status: cmd.Int("status"),
			Fail: cmd.Int("fail"), FailStatus: cmd.Int("fail-status"), RetryAfter: cmd.Duration("retry-after"),
			Delay: cmd.Duration("delay"), Hang: cmd.Bool("hang"), Max: cmd.Int("max"),
		},
		address: cmd.String("listen"), register: cmd.Bool("register"), eventTypes: cmd.StringSlice("event-type"), publicURL: cmd.String("public-url"),
		grace: recordGrace,
	}
	if cmd.NArg() > 0 {
		return s, fmt.Errorf("listen takes no arguments, got %q", cmd.Args().First())
	}
	if err := s.options.Check(); err != nil {
		return s, err
	}
	limit, err := config.ParseByteSize(cmd.String("body-limit"))
	if err != nil {
		return s, fmt.Errorf("--body-limit: %w", err)
	}
	root := cmd.Root()
	s.output, s.notes = NewTextOutput(root.Writer, limit), root.Writer
	if cmd.Bool("json") {
		s.output, s.notes = NewJSONOutput(root.Writer), root.ErrWriter
	}
	err = s.checkRegister(cmd)
	return s, err
}

func (s *settings) checkRegister(cmd *cli.Command) (err error) {
	if !s.register {
		if len(s.eventTypes) > 0 || s.publicURL != "" {
			return fmt.Errorf("--event-type and --public-url need --register")
		}
		return nil
	}
	if s.publicURL != "" {
		if u, err := url.Parse(s.publicURL); err != nil || u.Host == "" {
			return fmt.Errorf("--public-url: expected an absolute URL, got %q", s.publicURL)
		}
	}
	s.client, err = demo.Connect(cmd)
	return err
}

const (
	apiLimit    = 10 * time.Second // on a call that must not be given up half-way
	stopLimit   = 5 * time.Second
	recordGrace = time.Second // Beaconpost records an accepted attempt within milliseconds
)
