package beaconpost

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/migrations"
)

func migrateCommand() *cli.Command {
	url := &cli.StringFlag{
		Name: "database-url", Usage: "Postgres; the user owns the database and has CREATEROLE", Sources: cli.EnvVars("BEACONPOST_DATABASE_URL"), Required: true,
	}
	return &cli.Command{
		Name: "migrate", Usage: "bring the database schema up to date, or look at it",
		Commands: []*cli.Command{
			{Name: "up", Usage: "apply all pending migrations", Flags: []cli.Flag{url}, Action: func(ctx context.Context, cmd *cli.Command) error {
				applied, err := migrations.Up(ctx, cmd.String("database-url"))
				for _, m := range applied {
					_, _ = fmt.Fprintf(cmd.Root().Writer, "applied %s\n", m.File)
				}
				if err == nil && len(applied) == 0 {
					_, _ = fmt.Fprintln(cmd.Root().Writer, "nothing to apply")
				}
				return err
			}},
			{Name: "status", Usage: "list migrations; exits 1 if any is pending", Flags: []cli.Flag{url}, Action: migrationStatus},
		},
	}
}

func migrationStatus(ctx context.Context, cmd *cli.Command) error {
	list, err := migrations.Status(ctx, cmd.String("database-url"))
	if err != nil {
		return err
	}
	pending := 0
	for _, m := range list {
		state := "applied " + m.AppliedAt.UTC().Format("2006-01-02T15:04:05Z")
		if m.AppliedAt.IsZero() {
			state = "pending"
			pending++
		}
		_, _ = fmt.Fprintf(cmd.Root().Writer, "%-28s %s\n", state, m.File)
	}
	if pending > 0 {
		return errors.New("migrations are pending; run `beaconpost migrate up`")
	}
	return nil
}
