// Package stream owns the way to the broker: the connection, the topology of streams and consumers (declared here, in one place,
// and applied idempotently), the message that says a delivery is due, and publishing without waiting.
//
// The broker is disposable: whatever is published can be published again from Postgres. Consuming belongs to the services.
package stream

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Config says where the broker is.
type Config struct {
	URL     string
	Name    string        // shown by the broker for this connection
	There   func()        // called when the connection is there, for the first time or again; may be nil
	Lost    func()        // called when it is lost; may be nil
	Options []nats.Option // applied last, for example nats.InProcessServer
}

// Connect makes a connection that outlives every outage of the broker. It succeeds while the broker is down; publishing fails at
// once until it is up, instead of filling a buffer that would be lost with the process.
func Connect(cfg Config, log zerolog.Logger) (*nats.Conn, error) {
	if cfg.There == nil {
		cfg.There = func() {}
	}
	if cfg.Lost == nil {
		cfg.Lost = func() {}
	}
	options := append([]nats.Option{
		nats.Name(cfg.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(2 * time.Second),
		// A network that takes nothing blocks everybody who uses the connection; the library would wait for a minute.
		nats.FlusherTimeout(3 * time.Second),
		nats.ReconnectOnFlusherError(),
		nats.ConnectHandler(func(*nats.Conn) { cfg.There() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			cfg.Lost()
			if err != nil {
				log.Warn().Err(err).Msg("broker connection lost")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			cfg.There()
			log.Info().Msg("broker connection restored")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			event := log.Warn().Err(err)
			if sub != nil {
				event = event.Str("subject", sub.Subject)
			}
			event.Msg("broker reported an error")
		}),
	}, cfg.Options...)
	nc, err := nats.Connect(cfg.URL, options...)
	if _, unread := errors.AsType[*url.Error](err); unread {
		return nil, errors.New("connect to broker: the URL cannot be read; what is special in a password is percent-encoded") // it says all of it
	}
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return nc, nil
}

// JetStream gives the JetStream context of a connection, set up for Publisher's window.
func JetStream(nc *nats.Conn, options ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, options...)
	if err != nil {
		return nil, fmt.Errorf("make JetStream context: %w", err)
	}
	return js, nil
}
