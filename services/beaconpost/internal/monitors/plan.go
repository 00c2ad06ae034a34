package monitors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

// parallel is how many requests are made at the same time.
const parallel = 4

type action int

const (
	keep action = iota
	create
	update
	remove
)

// change is what is to be done about one monitor.
type change struct {
	action  action
	name    string
	wanted  *declared // nil to remove
	current document  // nil to create
	seen    *preview  // nil: not needed, or the server has none
}

// plan is made of changes in order of the files, then of what is to be removed.
type plan []change

// newPlan compares what is declared with what is stored. A monitor that cannot be as it is declared is part of the error; nothing is done then.
func newPlan(ctx context.Context, s server, monitors []*declared, prune bool) (plan, error) {
	stored, err := s.list(ctx, "")
	if err != nil {
		return nil, err
	}
	current := map[string]document{}
	for _, d := range stored {
		current[d.text("name")] = d
	}
	var p plan
	for _, d := range monitors {
		p = append(p, change{name: d.name, wanted: d, current: current[d.name]})
		delete(current, d.name)
	}
	if err := p.decide(ctx, s); err != nil {
		return nil, err
	}
	for _, d := range stored {
		if _, left := current[d.text("name")]; left && prune {
			p = append(p, change{action: remove, name: d.text("name"), current: d})
		}
	}
	return p, nil
}

// decide asks the server about each change. What it refuses is collected; anything else ends it.
func (p plan) decide(ctx context.Context, s server) error {
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	refused := make([]error, len(p))
	for i := range p {
		group.Go(func() error {
			err := p[i].decide(asking, s)
			if refusal(err) {
				refused[i], err = p[i].wanted.explain(err), nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("preview monitors: %w", err)
	}
	return errors.Join(refused...)
}

// refusal says whether the fault is in what was declared.
func refusal(err error) bool {
	if _, ok := errors.AsType[*misplaced](err); ok {
		return true
	}
	p, ok := errors.AsType[*demo.Problem](err)
	return ok && slices.Contains([]int{http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity}, p.Status)
}

func (c *change) decide(ctx context.Context, s server) (err error) {
	settings := c.current.settings()
	if c.current != nil && len(compare(settings, c.wanted.body.trimmed(), "")) == 0 {
		return nil // to the letter, as after an export
	}
	if path := stray(c.wanted.body, settings, ""); path != "" {
		return &misplaced{path}
	}
	if c.seen, err = s.preview(ctx, c.current.text("id"), c.wanted.body); err != nil {
		return err
	}
	switch {
	case c.current == nil:
		c.action = create
	case c.seen == nil || len(c.differences()) > 0 || c.secrets() != "":
		c.action = update
	}
	return nil
}

// misplaced is a *** for which nothing is stored.
type misplaced struct{ path string }

func (m *misplaced) Error() string {
	return hidden + " stands for a secret that is stored, and none is: give it as {" + fromEnv + ": NAME}"
}

// stray gives the path of a *** for which nothing is stored; "": there is none.
func stray(body, stored map[string]any, path string) string {
	for _, key := range slices.Sorted(maps.Keys(body)) {
		inner, _ := body[key].(map[string]any)
		under, _ := stored[key].(map[string]any)
		if found := stray(inner, under, join(path, key)); found != "" {
			return found
		}
		if body[key] == hidden && stored[key] != hidden {
			return join(path, key)
		}
	}
	return ""
}
