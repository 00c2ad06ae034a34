package monitors

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// applier makes the server have what is declared.
type applier struct {
	server  server
	prune   bool
	dryRun  bool
	confirm func(context.Context) error // an error: it is not to be done

	mu     sync.Mutex // guards what follows
	out    io.Writer
	notes  io.Writer // failures
	failed int
}

func (a *applier) run(ctx context.Context, monitors []*declared) error {
	p, err := newPlan(ctx, a.server, monitors, a.prune)
	if err != nil {
		return err
	}
	if err := p.write(a.out); err != nil {
		return fmt.Errorf("print plan: %w", err)
	}
	changes := len(p) - p.count(keep)
	if changes == 0 {
		fmt.Fprintln(a.out, "\nNothing to do.")
		return nil
	}
	fmt.Fprintf(a.out, "\n%d to create, %d to change, %d to delete\n", p.count(create), p.count(update), p.count(remove))
	if a.dryRun {
		return nil
	}
	if err := a.confirm(ctx); err != nil {
		return err
	}
	return a.apply(ctx, p, changes)
}

// apply makes all changes, whatever becomes of the others. When ctx ends, what has begun is finished.
func (a *applier) apply(ctx context.Context, p plan, changes int) error {
	var group errgroup.Group
	group.SetLimit(parallel)
	begun := 0
	for i := range p {
		if p[i].action == keep || ctx.Err() != nil {
			continue
		}
		begun++
		group.Go(func() error {
			a.note(a.make(context.WithoutCancel(ctx), &p[i]))
			return nil
		})
	}
	_ = group.Wait() // they are counted
	if a.failed > 0 {
		return fmt.Errorf("%d of %d changes failed; apply again makes what is missing", a.failed, changes)
	}
	if begun < changes {
		return fmt.Errorf("%d of %d changes were made: %w", begun, changes, ctx.Err())
	}
	return nil
}

// make makes a change and says what was done. The error says where in the files its cause is.
func (a *applier) make(ctx context.Context, c *change) (string, error) {
	id := c.current.text("id")
	switch c.action {
	case create:
		if err := a.server.create(ctx, c.wanted.body); err != nil {
			return "", c.wanted.explain(err)
		}
		return "created " + printable(c.name), nil
	case update:
		after, err := a.server.replace(ctx, id, c.wanted.body)
		if err != nil {
			return "", c.wanted.explain(err)
		}
		return c.report(after), nil
	default:
		if err := a.server.remove(ctx, id); err != nil {
			return "", fmt.Errorf("delete %s: %w", printable(c.name), err)
		}
		return "deleted " + printable(c.name), nil
	}
}

// report says what a replaced monitor is now, as far as the plan did not.
func (c *change) report(after document) string {
	if c.seen != nil {
		return "changed " + printable(c.name)
	}
	found := compare(c.current.settings(), after.settings(), "")
	if len(found) == 0 && !shows(after) {
		return "unchanged " + printable(c.name)
	}
	text := "changed " + printable(c.name)
	for _, d := range found {
		text += "\n    " + d.describe(c.wanted.isSecret)
	}
	if shows(after) {
		text += "\n    secrets: (sent again)"
	}
	return text
}

func (a *applier) note(done string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.failed++
		fmt.Fprintln(a.notes, err)
		return
	}
	fmt.Fprintln(a.out, done)
}

var (
	errNoTerminal   = errors.New("nothing was changed: nobody can be asked here; --yes applies without asking")
	errNotConfirmed = errors.New("nothing was changed")
)

// confirm asks. Only yes is a yes.
func confirm(ctx context.Context, in io.Reader, out io.Writer, terminal bool) error {
	if !terminal {
		return errNoTerminal
	}
	fmt.Fprint(out, "Apply? (yes/no) ")
	answer := make(chan error, 1)
	go func() { answer <- readAnswer(in) }() // reading a terminal cannot be ended: after Ctrl-C it ends with the process
	select {
	case <-ctx.Done():
		return errNotConfirmed
	case err := <-answer:
		return err
	}
}

func readAnswer(in io.Reader) error {
	line, err := bufio.NewReader(in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "yes", "y":
		return nil
	case "":
		if err != nil { // its end: /dev/null, for one
			return errNoTerminal
		}
	}
	return errNotConfirmed
}
