// Package mail sends messages to people by SMTP, through one relay.
//
// It writes the mail (compose.go), speaks with the relay (session.go) and says what became of it for every recipient (errors.go). It decides
// neither who is told nor whether something is sent again, and keeps no connection: alerts are few, and far between.
//
// A mail goes to those recipients that the relay accepts, although it refuses others: one mailbox that is gone must not silence the rest.
// Remaining says whom to send it to again. Its Message-ID is a function of the id, so that a repeated one can be recognised.
package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/mail"
	"time"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

// Sender sends mail. It is safe for concurrent use, and every call has a connection of its own.
type Sender struct {
	cfg   Config
	hello string
	from  *mail.Address
	tls   *tls.Config
}

// New makes a Sender from a valid configuration that has a host. Nothing is dialled.
func New(cfg Config) (*Sender, error) {
	if !cfg.Enabled() {
		return nil, errors.New("smtp: no host is configured")
	}
	if problems := cfg.Validate(); len(problems) > 0 {
		return nil, fmt.Errorf("smtp: %w", errors.Join(problems...))
	}
	from, err := mail.ParseAddress(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("smtp: sender: %w", err)
	}
	roots, err := cfg.roots()
	if err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	return &Sender{
		cfg: cfg, hello: cfg.helloName(), from: from,
		tls: &tls.Config{ServerName: cfg.Host, MinVersion: tls.VersionTLS12, RootCAs: roots},
	}, nil
}

// Send sends the message to the addresses. id names this message: the same id gives the same Message-ID.
//
// It takes no longer than the timeout of the configuration and ctx allow, whatever the relay does. A nil error means that the relay has taken
// the mail for everybody, an *Undelivered that it has not for some; with any other error, it has for nobody, as far as is known. Temporary says
// whether to try again, Remaining with whom.
func (s *Sender) Send(ctx context.Context, to []string, msg alert.Message, id string) error {
	good, bad := s.addresses(to)
	if len(good) == 0 {
		return bad.err()
	}
	content, err := s.compose(good, msg, id, time.Now())
	if err != nil {
		return fmt.Errorf("compose mail: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeout, errTimeout)
	defer cancel()
	refused, err := s.deliver(ctx, good, content)
	if err != nil {
		return err
	}
	bad.Failures = append(bad.Failures, refused...)
	return bad.err()
}

var errTimeout = errors.New("the relay took too long")

// addresses sorts out those that mail cannot be sent to, and those that are there twice.
func (s *Sender) addresses(to []string) (good []string, bad *Undelivered) {
	bad = &Undelivered{}
	seen := make(map[string]bool, len(to))
	for _, address := range to {
		switch {
		case seen[address]:
		case alert.IsAddress(address):
			good = append(good, address)
		default:
			bad.Failures = append(bad.Failures, Failure{Address: address, Err: errors.New("not an address that mail can be sent to")})
		}
		seen[address] = true
	}
	if len(seen) == 0 {
		bad.nobody = true
	}
	return good, bad
}
