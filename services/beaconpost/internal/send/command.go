// Package send is `beaconpost send`: events from the command line.
//
// It owns how an event is put into a request and when a request is repeated. It knows the public API only as a client.
package send

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

const description = `PAYLOAD is JSON, @FILE or - for standard input; {} unless given. It is sent byte for byte.
Prints the id of each accepted event. A request that was refused for now (429, 503) or broke off is repeated a few times with the same
idempotency key, which makes that safe.

  beaconpost send order.paid '{"order": 42}'
  beaconpost send order.paid @order.json --count 100 --concurrency 10`

// Command is `beaconpost send`.
func Command() *cli.Command {
	return &cli.Command{
		Name: "send", Usage: "send an event", ArgsUsage: "EVENT_TYPE [PAYLOAD]", Description: description,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "endpoint", Usage: "send to the endpoint with this `ID` only, whatever its filter"},
			&cli.StringFlag{Name: "project", Usage: "`ID` of the project that the event belongs to"},
			&cli.StringFlag{Name: "idempotency-key", Usage: "a repeated request with this `KEY` makes no second event; with --count, KEY-1, KEY-2, … (default: random)"},
			&cli.IntFlag{Name: "count", Usage: "send `N` events", Value: 1},
			&cli.IntFlag{Name: "concurrency", Usage: "send up to `N` at a time", Value: 1},
		}, demo.Flags()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			s, err := senderOf(cmd)
			if err != nil {
				return err
			}
			t := transport(s.concurrency)
			defer t.CloseIdleConnections()
			s.client.HTTP = t
			return s.run(ctx)
		},
	}
}

func senderOf(cmd *cli.Command) (*sender, error) {
	s := &sender{
		key: cmd.String("idempotency-key"), count: cmd.Int("count"), concurrency: cmd.Int("concurrency"),
		out: cmd.Root().Writer, notes: cmd.Root().ErrWriter,
	}
	args := cmd.Args().Slice()
	switch {
	case len(args) == 0:
		return nil, errors.New("EVENT_TYPE is missing, for example: beaconpost send order.paid")
	case len(args) > 2:
		return nil, fmt.Errorf("expected EVENT_TYPE and PAYLOAD, got %d arguments (quote the payload)", len(args))
	case s.count < 1 || s.concurrency < 1:
		return nil, errors.New("--count and --concurrency: expected at least 1")
	}
	payload, err := readPayload(append(args, "{}")[1], cmd.Root().Reader)
	if err != nil {
		return nil, err
	}
	s.body = envelope(args[0], cmd.String("endpoint"), cmd.String("project"), payload)
	if s.key == "" {
		s.key = "send-" + rand.Text()
	}
	s.client, err = demo.Connect(cmd)
	return s, err
}

// readPayload gives the bytes that arg names. They are valid JSON: anything else would change what surrounds them.
func readPayload(arg string, stdin io.Reader) ([]byte, error) {
	payload, err := []byte(arg), error(nil)
	if path, ok := strings.CutPrefix(arg, "@"); ok {
		payload, err = os.ReadFile(path)
	} else if arg == "-" {
		payload, err = io.ReadAll(stdin)
	}
	if err != nil {
		return nil, fmt.Errorf("read payload: %w", err)
	}
	if len(bytes.TrimSpace(payload)) == 0 {
		return nil, errors.New("the payload is empty; expected JSON")
	}
	var value json.RawMessage
	if err := json.Unmarshal(payload, &value); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("the payload is not JSON, at byte %d: %w (a file is given as @FILE)", syntax.Offset, err)
		}
		return nil, fmt.Errorf("the payload is not JSON: %w", err)
	}
	return payload, nil
}

// envelope is written by hand: encoding/json would compact and escape the payload.
func envelope(eventType, endpoint, project string, payload []byte) []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		quoted, _ := json.Marshal(value) // a string always can be
		fmt.Fprintf(&b, `%q:%s,`, name, quoted)
	}
	b.WriteByte('{')
	field("event_type", eventType)
	if endpoint != "" {
		field("endpoint_id", endpoint)
	}
	if project != "" {
		field("project_id", project)
	}
	b.WriteString(`"payload":`)
	b.Write(payload)
	b.WriteByte('}')
	return b.Bytes()
}
