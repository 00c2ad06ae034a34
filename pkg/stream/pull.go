package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullExpiry is how long the broker keeps a pull, and so what the end of Pull waits for.
	pullExpiry = time.Second
	// pullSilence is how much later than its expiry a pull that the broker knows of has ended.
	pullSilence = 750 * time.Millisecond
)

// ErrSilent says that a pull was not answered: the consumer, or who leads it, cannot be reached.
var ErrSilent = errors.New("the broker does not answer a pull")

// Pull gives messages of a consumer to take, in their order, until ctx ends or the consumer cannot be reached. Two pulls of batch messages are always at the broker,
// so that one waits there while what the other brought is taken.
//
// When ctx ends no further pull is made, and what comes for those that were is still taken, for up to a second. Whoever unsubscribes instead, as the iterators of the
// client do, loses what a broker of a cluster has sent and another one has not passed on: it is given out again after AckWait, or never. One message for each process
// that stopped was lost so at 135 messages a second.
func Pull(ctx context.Context, consumer jetstream.Consumer, batch int, take func(jetstream.Msg)) error {
	current, err := beginPull(consumer, batch)
	if err != nil {
		return err
	}
	for {
		var next *pull
		var failed error
		if ctx.Err() == nil {
			next, failed = beginPull(consumer, batch)
		}
		if err := errors.Join(current.each(take), failed); err != nil || next == nil {
			if next != nil {
				err = errors.Join(err, next.each(take)) // it may have brought something
			}
			return errors.Join(err, ctx.Err())
		}
		current = next
	}
}

// pull is one that was made.
type pull struct {
	jetstream.MessageBatch
	made time.Time
}

func beginPull(consumer jetstream.Consumer, batch int) (*pull, error) {
	messages, err := consumer.Fetch(batch, jetstream.FetchMaxWait(pullExpiry))
	if err != nil {
		return nil, fmt.Errorf("pull: %w", err)
	}
	return &pull{messages, time.Now()}, nil
}

// each takes what comes, until the pull has ended.
func (p *pull) each(take func(jetstream.Msg)) error {
	some, waited := false, false
	for messages := p.Messages(); ; {
		var msg jetstream.Msg
		select {
		case msg = <-messages:
		default:
			waited = true // it has not ended yet
			msg = <-messages
		}
		if msg == nil {
			break
		}
		some = true
		take(msg)
	}
	if err := p.Error(); err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	if !some && waited && time.Since(p.made) > pullExpiry+pullSilence {
		return ErrSilent
	}
	return nil
}
