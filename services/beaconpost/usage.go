package beaconpost

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"
)

// usageError is a command line that cannot be meant.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return fmt.Sprintf("%v (see %s --help)", e.err, e.command) }

// Unwrap gives what is wrong.
func (e *usageError) Unwrap() error { return e.err }

// beStrict makes wrong usage of cmd and all below it one line that says where to read more, instead of a page of help, and refuses
// arguments that nobody would read.
func beStrict(cmd *cli.Command) {
	cmd.OnUsageError = func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
		return &usageError{err, cmd.FullName()}
	}
	group := len(cmd.Commands) > 0 // before the library adds help to each
	cmd.ArgValidator = func(_ context.Context, cmd *cli.Command) error {
		if cmd.NArg() == 0 || cmd.ArgsUsage != "" {
			return nil
		}
		if group {
			return &usageError{fmt.Errorf("there is no command %q", cmd.Args().First()), cmd.FullName()}
		}
		return &usageError{fmt.Errorf("expected no arguments, got %q", cmd.Args().First()), cmd.FullName()}
	}
	for _, sub := range cmd.Commands {
		beStrict(sub)
	}
}
