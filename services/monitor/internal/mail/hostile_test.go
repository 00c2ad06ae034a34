package mail_test

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/mail"
)

// dialogue answers the greeting and then every line with the next of the answers; "" hangs. The lines of the mail are one.
func dialogue(answers ...string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		lines := bufio.NewReader(conn)
		for i, answer := range answers {
			if i > 0 {
				if _, err := lines.ReadString('\n'); err != nil {
					return
				}
			}
			if i > 0 && strings.HasPrefix(answers[i-1], "354") {
				for line := ""; line != ".\r\n"; {
					var err error
					if line, err = lines.ReadString('\n'); err != nil {
						return
					}
				}
			}
			if answer == "" {
				<-leave
				return
			}
			if _, err := conn.Write([]byte(answer)); err != nil {
				return
			}
		}
	}
}

// endlessly writes text until the other side has gone.
func endlessly(text string, pause time.Duration) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		for {
			select {
			case <-leave:
				return
			case <-time.After(pause):
			}
			if _, err := conn.Write([]byte(text)); err != nil {
				return
			}
		}
	}
}

func TestHostileRelays(t *testing.T) {
	t.Parallel()
	const hello, ok, data = "220 relay\r\n", "250 ok\r\n", "354 go on\r\n"
	for name, tt := range map[string]struct {
		talk func(net.Conn, <-chan struct{})
		says string // "": it took the mail
	}{
		"says nothing":              {dialogue(""), "greeting: the relay took too long"},
		"hangs at EHLO":             {dialogue(hello, ""), "greet the relay: the relay took too long"},
		"hangs at MAIL":             {dialogue(hello, ok, ""), "name the sender: the relay took too long"},
		"hangs at RCPT":             {dialogue(hello, ok, ok, ""), "send the mail: the relay took too long"},
		"hangs at DATA":             {dialogue(hello, ok, ok, ok, ""), "took too long"},
		"hangs after the mail":      {dialogue(hello, ok, ok, ok, data, ""), "took too long"},
		"hangs at QUIT":             {dialogue(hello, ok, ok, ok, data, ok, ""), ""},
		"leaves at QUIT":            {dialogue(hello, ok, ok, ok, data, ok), ""},
		"garbage at QUIT":           {dialogue(hello, ok, ok, ok, data, ok, "\xff\x00\r\n"), ""},
		"leaves at once":            {dialogue(), "greeting"},
		"leaves after the greeting": {dialogue(hello), "greet"},
		"leaves in the mail":        {dialogue(hello, ok, ok, ok, data), "send the mail"},
		"no SMTP":                   {dialogue("HTTP/1.1 400 Bad Request\r\n\r\n"), "greeting"},
		"garbage":                   {dialogue("\x00\xff\xfe\r\n"), "greeting"},
		"garbage at RCPT":           {dialogue(hello, ok, ok, "25\x00 ok\r\n"), "send the mail"},
		"not ready":                 {dialogue("554 no\r\n"), "greeting: 554 no"},
		"a wrong answer to DATA":    {dialogue(hello, ok, ok, ok, "250 ok\r\n"), "send the mail"},
		"drips":                     {endlessly("2", 20*time.Millisecond), "took too long"},
		"drips lines":               {endlessly("220-still here\r\n", 20*time.Millisecond), "took too long"},
		"an endless line":           {endlessly(strings.Repeat("2", 32<<10), 0), "said too much"},
		"endless lines":             {endlessly(strings.Repeat("220-x\r\n", 4<<10), 0), "said too much"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := raw(t, tt.talk)
			cfg.Timeout = time.Second
			started := time.Now()
			err := newSender(t, cfg).Send(t.Context(), ops, down, "n")
			require.Less(t, time.Since(started), 3*time.Second)
			if tt.says == "" {
				require.NoError(t, err, "the mail was taken: sending it again would double it")
				return
			}
			require.ErrorContains(t, err, tt.says)
			require.True(t, mail.Temporary(err))
			require.Less(t, len(err.Error()), 500)
			require.False(t, strings.ContainsAny(err.Error(), "\x00\r\n"))
		})
	}
}

// A relay that has taken the mail does not hold up the sender.
func TestQuitIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	cfg := raw(t, dialogue("220 relay\r\n", "250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go on\r\n", "250 ok\r\n", ""))
	cfg.Timeout = 50 * time.Second
	started := time.Now()
	require.NoError(t, newSender(t, cfg).Send(t.Context(), ops, down, "n"))
	require.Less(t, time.Since(started), 10*time.Second)
}

func TestTLSHandshakeIsBounded(t *testing.T) {
	t.Parallel()
	file, _ := authority(t)
	for mode, talk := range map[string]func(net.Conn, <-chan struct{}){
		mail.TLS:      dialogue(""),
		mail.STARTTLS: dialogue("220 relay\r\n", "250-relay\r\n250 STARTTLS\r\n", "220 go\r\n", ""),
	} {
		cfg := raw(t, talk)
		cfg.TLS, cfg.CAFile, cfg.Timeout = mode, file, 300*time.Millisecond
		started := time.Now()
		require.ErrorContains(t, newSender(t, cfg).Send(t.Context(), ops, down, "n"), "took too long", mode)
		require.Less(t, time.Since(started), 2*time.Second)
	}
}

// What a relay says in the clear together with its answer to STARTTLS is not taken as said in TLS.
func TestNothingIsTakenFromBeforeTLS(t *testing.T) {
	t.Parallel()
	file, _ := authority(t)
	cfg := raw(t, dialogue("220 relay\r\n", "250-relay\r\n250 STARTTLS\r\n", "220 go\r\n250-relay\r\n250 AUTH PLAIN\r\n250 ok\r\n"))
	cfg.TLS, cfg.CAFile, cfg.Username, cfg.Password = mail.STARTTLS, file, "user", "hunter2"
	require.ErrorContains(t, newSender(t, cfg).Send(t.Context(), ops, down, "n"), "start TLS")
}

func TestContext(t *testing.T) {
	t.Parallel()
	cfg := raw(t, dialogue(""))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	err := newSender(t, cfg).Send(ctx, ops, down, "n")
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, mail.Temporary(err))

	require.ErrorIs(t, newSender(t, cfg).Send(ctx, ops, down, "n"), context.Canceled, "from the beginning")
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	err = newSender(t, config(ln.Addr())).Send(t.Context(), ops, down, "n")
	require.ErrorContains(t, err, "connect to the relay")
	require.True(t, mail.Temporary(err))
}
