package probe

import (
	"sync"
	"time"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// stage is where a check is.
type stage int

const (
	idle stage = iota
	resolving
	connecting
	tunnelling // from a proxy to the target
	handshaking
	sending // counts to no phase
	processing
	transferring
	stages
)

// doing completes "… did not end within the timeout".
func (s stage) doing() string {
	return [stages]string{
		"The check", "The resolution of the name", "The connecting", "The connecting through the proxy", "The TLS handshake", "The sending of the request", "The wait for an answer", "The answer",
	}[s]
}

// clock measures how long a check is in each stage. net/http reports from goroutines of its own, some of them too late: after stop, nothing
// is counted.
type clock struct {
	mu      sync.Mutex
	at      stage
	since   time.Time
	spent   [stages]time.Duration
	stopped bool
}

func (c *clock) enter(next stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move(next)
}

// pass enters next if the check is still in from.
func (c *clock) pass(from, next stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == from {
		c.move(next)
	}
}

// spend counts a time that was measured elsewhere.
func (c *clock) spend(in stage, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spent[in] += took
}

func (c *clock) move(next stage) {
	if c.stopped {
		return
	}
	now := time.Now()
	if c.at != idle {
		c.spent[c.at] += now.Sub(c.since)
	}
	c.at, c.since = next, now
}

// stop ends the measuring and says where it ended.
func (c *clock) stop() (stage, check.Phases) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.at
	c.move(idle)
	c.stopped = true
	return last, c.phases()
}

// where says where the check is.
func (c *clock) where() stage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// soFar gives the phases that are over, without an end of the measuring.
func (c *clock) soFar() check.Phases {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phases()
}

func (c *clock) phases() check.Phases {
	return check.Phases{
		Resolve: c.spent[resolving], Connect: c.spent[connecting] + c.spent[tunnelling], TLS: c.spent[handshaking],
		Processing: c.spent[processing], Transfer: c.spent[transferring],
	}
}
