package probe

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestTCP(t *testing.T) {
	t.Parallel()
	echo := func(conn net.Conn, _ <-chan struct{}) { _, _ = io.Copy(conn, conn) }
	p := newProber(t)
	for name, tt := range map[string]struct {
		talk         func(net.Conn, <-chan struct{})
		send, expect string
		cause        check.Cause
	}{
		"connects":            {hang, "", "", ""},
		"banner":              {answerAndStayAtOnce("SSH-2.0-OpenSSH_9.9\r\n"), "", `^SSH-2\.0-`, ""},
		"end of a line":       {answerAndStayAtOnce("+PONG\r\n"), "", `PONG\r\n$`, ""},
		"echo":                {echo, "PING 12\r\n", `PING \d+`, ""},
		"drips":               {drip0("slowly"), "", "slowlys", ""},
		"says something else": {answer("-ERR\r\n"), "PING\r\n", "PONG", check.CauseBody},
		"says too much":       {endless("", "x"), "PING\r\n", "PONG", check.CauseBody},
		"says nothing":        {hang, "PING\r\n", "PONG", check.CauseTimeout},
		"drips nonsense":      {drip("", "x"), "PING\r\n", "PONG", check.CauseTimeout},
		"closes":              {func(net.Conn, <-chan struct{}) {}, "", "PONG", check.CauseReset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := at(t, check.TCP, raw(t, tt.talk))
			spec.Send, spec.Expect = tt.send, tt.expect
			require.NoError(t, spec.Check())
			j := job(spec)
			if tt.cause == check.CauseTimeout {
				j.Timeout = short
			}
			r := checkIt(t, p, j)
			require.Equal(t, tt.cause, r.Cause, "%+v", r)
			if tt.cause == check.CauseBody {
				require.Contains(t, r.Evidence.Expected, "PONG")
				require.NotEmpty(t, r.Evidence.Got)
			}
		})
	}
	require.Equal(t, check.CauseConnect, checkIt(t, p, job(at(t, check.TCP, closedPort(t)))).Cause)
}

// answerAndStayAtOnce is of protocols in which the server speaks first.
func answerAndStayAtOnce(text string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		_, _ = io.WriteString(conn, text)
		<-leave
	}
}

func drip0(text string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-leave:
				return
			case <-tick.C:
			}
			if _, err := conn.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
		}
	}
}

func TestTCPWithTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", tlsOf(ca.valid(t)))
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "* OK IMAP4rev1\r\n")
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-ended })
	spec := at(t, check.TCP, ln.Addr().String())
	spec.TLS, spec.Expect, spec.CertificateDays = new(check.TLSOptions), "IMAP4", 100
	r := checkIt(t, newProber(t, ca.trusted), job(spec))
	require.Equal(t, check.CauseCertificateEnding, r.Cause, r.Detail)
}

// noMail takes no mail.
type noMail struct{}

func (noMail) NewSession(*smtp.Conn) (smtp.Session, error) { return noMail{}, nil }
func (noMail) Mail(string, *smtp.MailOptions) error        { return smtp.ErrDataReset }
func (noMail) Rcpt(string, *smtp.RcptOptions) error        { return smtp.ErrDataReset }
func (noMail) Data(io.Reader) error                        { return smtp.ErrDataReset }
func (noMail) Reset()                                      {}
func (noMail) Logout() error                               { return nil }

func TestStartTLSOfARealMailServer(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	server := smtp.NewServer(noMail{})
	server.Domain, server.TLSConfig, server.ErrorLog = "target.test", tlsOf(ca.valid(t)), log.New(io.Discard, "", 0)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	for _, kind := range []check.Kind{check.TLS, check.TCP} {
		spec := at(t, kind, ln.Addr().String())
		spec.StartTLS = "smtp"
		r := checkIt(t, newProber(t, ca.trusted), job(spec))
		require.Equal(t, check.Up, r.Outcome, r.Detail)
		require.False(t, r.CertEnds.IsZero())
		require.Positive(t, r.Phases.TLS)
	}
	spec := at(t, check.TCP, ln.Addr().String())
	spec.StartTLS, spec.Send, spec.Expect = "smtp", "EHLO a.test\r\n", "^250-"
	r := checkIt(t, newProber(t, ca.trusted), job(spec))
	require.Equal(t, check.Up, r.Outcome, "%+v %+v", r, r.Evidence)
	require.Equal(t, check.CauseTLS, checkIt(t, newProber(t), job(spec)).Cause, "its authority is not known")
}

// dialogue plays a server: it says its lines, each after the line that it waits for, and then goes over to TLS.
func dialogue(cfg *tls.Config, lines ...[2]string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, _ <-chan struct{}) {
		in := bufio.NewReader(conn)
		for _, line := range lines {
			if line[0] != "" {
				got, err := in.ReadString('\n')
				if err != nil || !strings.HasPrefix(got, line[0]) {
					return
				}
			}
			_, _ = io.WriteString(conn, line[1])
		}
		if cfg != nil {
			_ = tls.Server(conn, cfg).Handshake()
		}
	}
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cfg := tlsOf(ca.valid(t))
	for name, tt := range map[string]struct {
		protocol string
		cfg      *tls.Config
		lines    [][2]string
		cause    check.Cause
	}{
		"smtp": {"smtp", cfg, [][2]string{{"", "220-hello\r\n220 target.test\r\n"}, {"EHLO", "250-target.test\r\n250-SIZE\r\n250 STARTTLS\r\n"}, {"STARTTLS", "220 go\r\n"}}, ""},
		"imap": {"imap", cfg, [][2]string{{"", "* OK hello\r\n"}, {"a STARTTLS", "* note\r\na OK begin\r\n"}}, ""},
		"pop3": {"pop3", cfg, [][2]string{{"", "+OK hello\r\n"}, {"STLS", "+OK begin\r\n"}}, ""},
		"ftp":  {"ftp", cfg, [][2]string{{"", "220-hello\r\n more\r\n220 ready\r\n"}, {"AUTH TLS", "234 go\r\n"}}, ""},

		"smtp, not offered":  {"smtp", nil, [][2]string{{"", "220 a\r\n"}, {"EHLO", "250 a\r\n"}, {"STARTTLS", "502 no\r\n"}}, check.CauseProtocol},
		"smtp, busy":         {"smtp", nil, [][2]string{{"", "421 busy\r\n"}}, check.CauseProtocol},
		"imap, not offered":  {"imap", nil, [][2]string{{"", "* OK a\r\n"}, {"a STARTTLS", "a BAD no\r\n"}}, check.CauseProtocol},
		"something injected": {"smtp", cfg, [][2]string{{"", "220 a\r\n"}, {"EHLO", "250 a\r\n"}, {"STARTTLS", "220 go\r\n250 injected\r\n"}}, check.CauseProtocol},
		"a line too long":    {"ftp", nil, [][2]string{{"", "220 " + strings.Repeat("x", 5000) + "\r\n"}}, check.CauseProtocol},
		"too many lines":     {"ftp", nil, [][2]string{{"", strings.Repeat("220-x\r\n", 500)}}, check.CauseProtocol},
		"another protocol":   {"pop3", nil, [][2]string{{"", "220 smtp\r\n"}}, check.CauseProtocol},
		"closes":             {"ftp", nil, nil, check.CauseReset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := at(t, check.TLS, raw(t, dialogue(tt.cfg, tt.lines...)))
			spec.StartTLS = tt.protocol
			r := checkIt(t, newProber(t, ca.trusted), job(spec))
			require.Equal(t, tt.cause, r.Cause, "%+v %+v", r, r.Evidence)
		})
	}
	spec := at(t, check.TLS, raw(t, hang))
	spec.StartTLS = "smtp"
	j := job(spec)
	j.Timeout = short
	require.Equal(t, check.CauseTimeout, checkIt(t, newProber(t), j).Cause)
}
