package monitor

import (
	"sync"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// tenantShare is the part of all checks at the same time that one tenant may have: one whose targets hang leaves some for the others.
const tenantShare = 2

// Room shares out the checks that are made at the same time.
type Room struct {
	most int

	mu  sync.Mutex
	all int
	of  map[tenant.ID]int
}

// NewRoom makes room for so many checks.
func NewRoom(most int) *Room { return &Room{most: most, of: map[tenant.ID]int{}} }

// Take says whether there is room for one more of a tenant. What was taken is given back.
func (r *Room) Take(t tenant.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all >= r.most || r.of[t] >= max(r.most/tenantShare, 1) {
		return false
	}
	r.all++
	r.of[t]++
	return true
}

// Give gives back what was taken.
func (r *Room) Give(t tenant.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all--
	if r.of[t]--; r.of[t] == 0 {
		delete(r.of, t)
	}
}

func (r *Room) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}
