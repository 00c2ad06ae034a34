package mail_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/mail"
)

var mailed = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestTLS(t *testing.T) {
	t.Parallel()
	file, certificates := authority(t)
	other, _ := authority(t)
	starttls := (&relay{}).serve(t, certificates, false)
	first := (&relay{}).serve(t, certificates, true)
	plain := (&relay{}).serve(t, nil, false)
	for name, tt := range map[string]struct {
		relay mail.Config
		mode  string
		ca    string
		says  string // "": sent
	}{
		"starttls":                      {starttls, mail.STARTTLS, file, ""},
		"tls":                           {first, mail.TLS, file, ""},
		"starttls, another authority":   {starttls, mail.STARTTLS, other, "start TLS: tls: failed to verify certificate"},
		"tls, another authority":        {first, mail.TLS, other, "tls: failed to verify certificate"},
		"starttls, system's authority":  {starttls, mail.STARTTLS, "", "failed to verify certificate"},
		"starttls is not offered":       {plain, mail.STARTTLS, file, "start TLS: the relay does not offer it"},
		"tls where there is none":       {plain, mail.TLS, file, "first record does not look like a TLS handshake"},
		"starttls is offered, not used": {starttls, mail.NoTLS, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := tt.relay
			cfg.TLS, cfg.CAFile = tt.mode, tt.ca
			err := newSender(t, cfg).Send(t.Context(), ops, down, "n")
			if tt.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.says)
			require.True(t, mail.Temporary(err), "somebody can mend it")
			require.Equal(t, ops, mail.Remaining(ops, err))
		})
	}
	named := starttls
	named.Host, named.TLS, named.CAFile = "localhost", mail.STARTTLS, file
	require.ErrorContains(t, newSender(t, named).Send(t.Context(), ops, down, "n"), "certificate", "it is for 127.0.0.1")
}

func TestAuth(t *testing.T) {
	t.Parallel()
	file, certificates := authority(t)
	for _, mode := range []string{mail.STARTTLS, mail.TLS} {
		r := &relay{auth: true}
		cfg := r.serve(t, certificates, mode == mail.TLS)
		cfg.TLS, cfg.CAFile = mode, file
		require.ErrorContains(t, newSender(t, cfg).Send(t.Context(), ops, down, "n"), "authenticate first")

		cfg.Username, cfg.Password = "user", "hunter2"
		require.NoError(t, newSender(t, cfg).Send(t.Context(), ops, down, "n"))
		require.Len(t, r.all(), 1)

		cfg.Password = "correct horse"
		err := newSender(t, cfg).Send(t.Context(), ops, down, "n")
		require.ErrorContains(t, err, "authenticate: 454")
		require.True(t, mail.Temporary(err))
		require.NotContains(t, err.Error(), "horse", "the relay of this test repeats it")
	}
	cfg := (&relay{}).serve(t, certificates, false)
	cfg.TLS, cfg.CAFile, cfg.Username, cfg.Password = mail.STARTTLS, file, "user", "hunter2"
	require.ErrorContains(t, newSender(t, cfg).Send(t.Context(), ops, down, "n"), "offers none of")
}

// A relay that repeats what it was sent, in base64, does not get it into an error.
func TestThePasswordIsNotRepeated(t *testing.T) {
	t.Parallel()
	const password = "correct horse"
	cfg := raw(t, func(conn net.Conn, _ <-chan struct{}) {
		plain := base64.StdEncoding.EncodeToString([]byte("\x00user\x00" + password))
		_, _ = fmt.Fprintf(conn, "554 %s %s %s\r\n", plain, base64.StdEncoding.EncodeToString([]byte(password)), password)
		_, _ = bufio.NewReader(conn).ReadString('\n')
	})
	cfg.TLS, cfg.Username, cfg.Password = mail.STARTTLS, "user", password
	err := newSender(t, cfg).Send(t.Context(), ops, down, "n")
	require.ErrorContains(t, err, "greeting: 554 *** *** ***")
	require.NotContains(t, fmt.Sprintf("%+v", cfg), password)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := mail.Config{Host: "relay", Port: 587, From: "alerts@example.com", TLS: mail.STARTTLS, Timeout: time.Second}
	require.Empty(t, good.Validate())
	require.Empty(t, mail.Config{}.Validate(), "mail is off")
	_, err := mail.New(mail.Config{})
	require.Error(t, err)
	for variable, change := range map[string]func(*mail.Config){
		"HOST":       func(c *mail.Config) { c.Host = "relay:25" },
		"PORT":       func(c *mail.Config) { c.Port = 0 },
		"FROM":       func(c *mail.Config) { c.From = "Beaconpost" },
		"USERNAME":   func(c *mail.Config) { c.Username = "user" },
		"TLS":        func(c *mail.Config) { c.TLS = "maybe" },
		"clear":      func(c *mail.Config) { c.TLS, c.Username, c.Password = mail.NoTLS, "user", "hunter2" },
		"TIMEOUT":    func(c *mail.Config) { c.Timeout = 0 },
		"HELLO_NAME": func(c *mail.Config) { c.HelloName = "a\r\nb" },
	} {
		cfg := good
		change(&cfg)
		problems := cfg.Validate()
		require.Len(t, problems, 1, variable)
		require.ErrorContains(t, problems[0], strings.ReplaceAll(variable, "clear", "TLS: expected"))
		require.NotContains(t, problems[0].Error(), "hunter2")
		_, err := mail.New(cfg)
		require.Error(t, err)
	}
	good.Host = "::1"
	require.Empty(t, good.Validate())
	good.CAFile = "/nowhere"
	_, err = mail.New(good)
	require.True(t, err != nil && strings.Contains(err.Error(), "authorities"))
	good.CAFile = "tls_test.go"
	_, err = mail.New(good)
	require.ErrorContains(t, err, "no certificate")
}
