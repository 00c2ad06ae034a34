package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

const (
	maxHeard = 256 << 10       // bytes that a relay says in one session, certificates included
	farewell = 2 * time.Second // for the answer to QUIT, when the mail is taken already
)

// heard fails when the relay has said too much: its lines are read whole into memory.
type heard struct {
	net.Conn
	left int
}

var errTooMuch = errors.New("the relay said too much")

func (h *heard) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, errTooMuch
	}
	n, err := h.Conn.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}

// deliver has one session with the relay. The connection is closed when ctx ends: that is the bound on everything in it. An error means that the
// mail was taken for nobody.
func (s *Sender) deliver(ctx context.Context, to []string, content []byte) ([]Failure, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)))
	if err != nil {
		return nil, s.explain(ctx, "connect to the relay", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	client, doing, err := s.open(&heard{conn, maxHeard})
	if err != nil {
		return nil, s.explain(ctx, doing, err)
	}
	client.SkipSMTPUTF8(true) // nothing in it is not ASCII, and not every relay on the way has it
	if err := client.Mail("<" + s.from.Address + ">"); err != nil {
		return nil, s.explain(ctx, "name the sender", err)
	}
	failures, err := s.transfer(client, to, content)
	if err != nil {
		return nil, s.explain(ctx, "send the mail", err)
	}
	_ = conn.SetDeadline(time.Now().Add(farewell))
	_ = client.Quit() // whatever it answers, the mail is taken or refused
	return failures, nil
}

// open greets the relay, and says what was being done when it failed.
func (s *Sender) open(conn net.Conn) (client *smtp.Client, doing string, err error) {
	if s.cfg.TLS == TLS {
		conn = tls.Client(conn, s.tls)
	}
	if client, err = smtp.NewClient(conn, s.cfg.Host); err != nil {
		return nil, "wait for the relay's greeting", err
	}
	if err := client.Hello(s.hello); err != nil {
		return nil, "greet the relay", err
	}
	if s.cfg.TLS == STARTTLS {
		if offered, _ := client.Extension("STARTTLS"); !offered {
			return nil, "start TLS", errors.New("the relay does not offer it")
		}
		if err := client.StartTLS(s.tls); err != nil {
			return nil, "start TLS", err
		}
	}
	if s.cfg.Username != "" {
		err = s.authenticate(client)
	}
	return client, "authenticate", err
}

func (s *Sender) authenticate(client *smtp.Client) error {
	_, mechanisms := client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(mechanisms))
	user, password := s.cfg.Username, s.cfg.Password.Reveal()
	var auth smtp.Auth
	switch {
	case slices.Contains(offered, "SCRAM-SHA-256"):
		auth = smtp.ScramSHA256Auth(user, password)
	case slices.Contains(offered, "PLAIN"):
		auth = smtp.PlainAuth("", user, password, s.cfg.Host, false)
	case slices.Contains(offered, "LOGIN"):
		auth = smtp.LoginAuth(user, password, s.cfg.Host, false)
	default:
		return errors.New("the relay offers none of SCRAM-SHA-256, PLAIN and LOGIN")
	}
	return client.Auth(auth)
}

// transfer sends the mail to those that the relay accepts. What it says after the mail is about all of these.
func (s *Sender) transfer(client *smtp.Client, to []string, content []byte) (failures []Failure, err error) {
	var accepted []string
	for _, address := range to {
		switch err := client.Rcpt("<" + address + ">"); {
		case err == nil:
			accepted = append(accepted, address)
		case answered(err):
			failures = append(failures, s.refusal(address, err))
		default:
			return nil, err
		}
	}
	if len(accepted) == 0 {
		return failures, nil
	}
	if err := write(client, content); err != nil {
		if !answered(err) {
			return nil, err
		}
		for _, address := range accepted {
			failures = append(failures, s.refusal(address, err))
		}
	}
	return failures, nil
}

func write(client *smtp.Client, content []byte) error {
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := bytes.NewReader(content).WriteTo(w); err != nil {
		return err
	}
	return w.Close()
}
