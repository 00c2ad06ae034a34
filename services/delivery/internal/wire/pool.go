package wire

import (
	"sync"
	"time"
)

// pool holds the connections that wait for their next use. The one that waited least is taken first, so that those that are not needed
// grow old. It is safe for concurrent use.
type pool struct {
	perHost, most int
	keep          time.Duration

	mu             sync.Mutex
	hosts          map[address][]*conn // of each the newest last
	oldest, newest *conn
	count          int
	timer          *time.Timer // nil: there is nothing to grow old
	closed         bool
}

func newPool(l Limits) *pool {
	return &pool{perHost: l.IdlePerHost, most: l.Idle, keep: l.IdleFor, hosts: map[address][]*conn{}}
}

// get takes a connection out; nil if there is none.
func (p *pool) get(to address) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.hosts[to]
	if len(waiting) == 0 {
		return nil
	}
	c := waiting[len(waiting)-1]
	waiting[len(waiting)-1] = nil
	p.keepHost(to, waiting[:len(waiting)-1])
	p.unlink(c)
	return c
}

// put takes a connection in, or closes it or older ones if there are too many.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	if p.closed || len(p.hosts[c.to]) >= p.perHost {
		p.mu.Unlock()
		_ = c.Close()
		return
	}
	c.since = time.Now()
	p.hosts[c.to] = append(p.hosts[c.to], c)
	p.link(c)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.keep, p.expire)
	}
	var surplus *conn
	if p.count > p.most {
		surplus = p.evict()
	}
	p.mu.Unlock()
	if surplus != nil {
		_ = surplus.Close()
	}
}

// expire closes what has waited for too long.
func (p *pool) expire() {
	p.mu.Lock()
	var old []*conn
	now := time.Now()
	for p.oldest != nil && now.Sub(p.oldest.since) >= p.keep {
		old = append(old, p.evict())
	}
	p.timer = nil
	if p.oldest != nil {
		p.timer = time.AfterFunc(p.keep-now.Sub(p.oldest.since), p.expire)
	}
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*conn
	for p.oldest != nil {
		all = append(all, p.evict())
	}
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// evict takes out the oldest of all, which is also the oldest of its host.
func (p *pool) evict() *conn {
	c := p.oldest
	waiting := p.hosts[c.to]
	copy(waiting, waiting[1:])
	waiting[len(waiting)-1] = nil
	p.keepHost(c.to, waiting[:len(waiting)-1])
	p.unlink(c)
	return c
}

func (p *pool) keepHost(to address, waiting []*conn) {
	if len(waiting) == 0 {
		delete(p.hosts, to)
		return
	}
	p.hosts[to] = waiting
}

func (p *pool) link(c *conn) {
	c.older, c.newer = p.newest, nil
	if p.newest != nil {
		p.newest.newer = c
	} else {
		p.oldest = c
	}
	p.newest = c
	p.count++
}

func (p *pool) unlink(c *conn) {
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.newest = c.older
	}
	c.older, c.newer = nil, nil
	p.count--
}
