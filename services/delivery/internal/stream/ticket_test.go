package stream

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// handed is a message that remembers what the broker was told. What the tests do not call is nil.
type handed struct {
	jetstream.Msg
	mu    sync.Mutex
	count uint64
	told  []string
}

func (h *handed) tell(what string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, what)
	return nil
}

func (h *handed) Ack() error                       { return h.tell("ack") }
func (h *handed) NakWithDelay(time.Duration) error { return h.tell("nak") }
func (h *handed) InProgress() error                { return h.tell("in progress") }
func (h *handed) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{NumDelivered: h.count}, nil
}

func hand(count uint64, n int) (*handed, []delivery.Ticket) {
	h := &handed{count: count}
	due := make([]stream.DeliveryReady, n)
	for i := range due {
		due[i] = stream.DeliveryReady{DeliveryID: uuid.New(), Attempt: i + 1}
	}
	return h, tickets(h, due, nil)
}

// A message is over when all of its tickets are, in whatever order, and comes again if one was released.
func TestAMessageEndsWithItsLastTicket(t *testing.T) {
	t.Parallel()
	done, release := delivery.Ticket.Done, delivery.Ticket.Release
	for name, tt := range map[string]struct {
		ends []func(delivery.Ticket)
		want string
	}{
		"one done":       {[]func(delivery.Ticket){done}, "ack"},
		"one released":   {[]func(delivery.Ticket){release}, "nak"},
		"all done":       {[]func(delivery.Ticket){done, done, done}, "ack"},
		"first released": {[]func(delivery.Ticket){release, done, done}, "nak"},
		"last released":  {[]func(delivery.Ticket){done, done, release}, "nak"},
		"all released":   {[]func(delivery.Ticket){release, release, release}, "nak"},
	} {
		h, list := hand(1, len(tt.ends))
		for i, end := range tt.ends {
			require.Empty(t, h.told, name)
			end(list[len(list)-1-i])
		}
		require.Equal(t, []string{tt.want}, h.told, name)
	}
}

func TestTicketsOfAMessageEndAtTheSameTime(t *testing.T) {
	t.Parallel()
	h, list := hand(1, 64)
	var all sync.WaitGroup
	for i, k := range list {
		all.Go(func() {
			if i == 17 {
				k.Release()
			} else {
				k.Done()
			}
		})
	}
	all.Wait()
	require.Equal(t, []string{"nak"}, h.told)
}

func TestTheBrokerIsToldOfProgressOncePerMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, list := hand(1, 3)
		for range 3 {
			for _, k := range list {
				k.InProgress()
			}
			time.Sleep(progressEvery)
		}
		require.Equal(t, []string{"in progress", "in progress", "in progress"}, h.told)
	})
}

func TestTicketsSayWhatTheMessageSaid(t *testing.T) {
	t.Parallel()
	_, list := hand(1, 2)
	require.False(t, list[0].Redelivered())
	require.Equal(t, 2, list[1].Request().Attempt)
	_, list = hand(2, 2)
	require.True(t, list[0].Redelivered() && list[1].Redelivered())
}
