package service

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// keyNews tells other processes which API keys changed, and hears it from them, over core NATS: a message that is lost is made up for by the
// time that keys are remembered for. What cannot be told while the connection is away is told when it is there again.
type keyNews struct {
	log  zerolog.Logger
	keys *auth.APIKeys // set before the connection is made

	hearing atomic.Bool // the connection is there, and what was remembered before it was is forgotten

	mu     sync.Mutex
	nc     *nats.Conn // nil until listen
	untold []string   // ids; everything if there are more than untoldMost
}

const (
	untoldMost = 1000
	// everyKey stands for an id: whoever hears it forgets all.
	everyKey = "*"
)

func newKeyNews(log zerolog.Logger) *keyNews { return &keyNews{log: log} }

// heard says whether changes made by others are heard now.
func (n *keyNews) heard() bool { return n.hearing.Load() }

func (n *keyNews) lost() { n.hearing.Store(false) }

// there is called for every connection. What was said before it was not heard.
func (n *keyNews) there() {
	n.keys.ForgetAll()
	n.hearing.Store(true)
	n.mu.Lock()
	ids := n.untold
	n.untold = nil
	n.mu.Unlock()
	if len(ids) > untoldMost {
		ids = []string{everyKey}
	}
	for _, id := range ids {
		n.tell(id)
	}
}

// listen subscribes. The subscription lasts as long as nc.
func (n *keyNews) listen(nc *nats.Conn) error {
	n.mu.Lock()
	n.nc = nc
	n.mu.Unlock()
	_, err := nc.Subscribe(subject.ForgetAPIKey, func(m *nats.Msg) {
		if id := string(m.Data); id != everyKey {
			n.keys.Forget(id)
		} else {
			n.keys.ForgetAll()
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to changes of API keys: %w", err)
	}
	return nil
}

// tell tells the others that the key with this id changed, now or when they can be told.
func (n *keyNews) tell(id string) {
	n.mu.Lock()
	nc := n.nc
	n.mu.Unlock()
	// Without the lock: a network that takes nothing makes this wait.
	if nc != nil && nc.Publish(subject.ForgetAPIKey, []byte(id)) == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.untold) <= untoldMost {
		n.untold = append(n.untold, id)
	}
	n.log.Warn().Str("api_key_id", id).Msg("other replicas cannot be told now that an API key changed; they are when the broker is back")
}
