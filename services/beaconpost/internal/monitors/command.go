// Package monitors is `beaconpost monitors`: monitors kept as files.
//
// It owns the form of these files, and what has to be done so that the server has what they say. Which settings there are, which of them a
// kind takes, what they are by default and which are secret, the server says: none of that is repeated here. It knows the public API only
// as a client.
package monitors

import (
	"context"
	"io"
	"io/fs"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

const applyDescription = `Compares what the files declare with what the server has, by name, shows what would change, asks, and changes it.
Applied again, the same files change nothing. A setting that a file leaves out has its default.

  beaconpost monitors apply -f monitors.yaml
  beaconpost monitors apply -f monitors/ --prune --yes   in CI; monitors that are in no file are deleted

A file has one or several YAML documents (JSON is YAML). Each is one monitor, or has a list of them:

  defaults:                        # put under each monitor of the file; objects are merged, null takes a setting out
    interval: 1m
  monitors:
    - name: Shop                   # what tells monitors apart: another name is another monitor
      kind: http
      url: https://shop.example.com/health
      auth:
        bearer: {$env: SHOP_TOKEN} # the value of a variable, which is never shown; nothing else is taken from the environment`

const exportDescription = `Prints what apply takes back without changing anything. A secret is printed as ***, which stands for what is stored: to create the
monitor anew, put {$env: NAME} in its place.`

// Command is `beaconpost monitors`.
func Command() *cli.Command {
	tag := &cli.StringFlag{Name: "tag", Usage: "only monitors with this tag"}
	return &cli.Command{
		Name: "monitors", Usage: "monitors as code: apply files, export, list",
		Commands: []*cli.Command{
			{
				Name: "apply", Usage: "make monitors as files say", Description: applyDescription, DisableSliceFlagSeparator: true,
				Flags: append([]cli.Flag{
					&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Required: true, Usage: "`FILE`, directory (its *.yaml, *.yml and *.json) or - for standard input; repeatable"},
					&cli.BoolFlag{Name: "prune", Usage: "delete monitors that are in none of the files"},
					&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
					&cli.BoolFlag{Name: "dry-run", Usage: "only show what would change"},
				}, demo.Flags()...),
				Action: apply,
			},
			{
				Name: "export", Usage: "print monitors as a file for apply", Description: exportDescription,
				Flags: append([]cli.Flag{tag}, demo.Flags()...), Action: export,
			},
			{
				Name: "list", Usage: "list monitors",
				Flags: append([]cli.Flag{
					tag,
					&cli.BoolFlag{Name: "json", Usage: "write one JSON object per line"},
				}, demo.Flags()...),
				Action: list,
			},
		},
	}
}

func apply(ctx context.Context, cmd *cli.Command) error {
	root := cmd.Root()
	files, err := readFiles(cmd.StringSlice("file"), root.Reader)
	if err != nil {
		return err
	}
	declared, err := parse(files, os.LookupEnv)
	if err != nil {
		return err
	}
	client, err := demo.Connect(cmd)
	if err != nil {
		return err
	}
	a := &applier{
		server: server{client}, out: root.Writer, notes: root.ErrWriter, prune: cmd.Bool("prune"), dryRun: cmd.Bool("dry-run"),
		confirm: func(ctx context.Context) error {
			return confirm(ctx, root.Reader, root.Writer, isTerminal(root.Reader))
		},
	}
	if cmd.Bool("yes") {
		a.confirm = func(context.Context) error { return nil }
	}
	return a.run(ctx, declared)
}

// isTerminal says whether somebody may be there to answer. It takes /dev/null for a terminal: there, the answer is missing.
func isTerminal(r io.Reader) bool {
	file, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}

func export(ctx context.Context, cmd *cli.Command) error {
	stored, err := find(ctx, cmd)
	if err != nil {
		return err
	}
	return writeYAML(cmd.Root().Writer, stored)
}

func list(ctx context.Context, cmd *cli.Command) error {
	stored, err := find(ctx, cmd)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return writeJSON(cmd.Root().Writer, stored)
	}
	return writeTable(cmd.Root().Writer, stored)
}

func find(ctx context.Context, cmd *cli.Command) ([]document, error) {
	client, err := demo.Connect(cmd)
	if err != nil {
		return nil, err
	}
	return server{client}.list(ctx, cmd.String("tag"))
}
