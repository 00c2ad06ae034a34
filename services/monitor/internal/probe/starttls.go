package probe

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const maxReplyLines = 100

// step is one of a protocol's way to TLS: what is sent, and with what the reply to it begins.
type step struct{ send, reply string }

func wayToTLS(protocol string) []step {
	switch protocol {
	case "smtp":
		return []step{{"", "220"}, {"EHLO beaconpost.invalid\r\n", "250"}, {"STARTTLS\r\n", "220"}}
	case "imap":
		return []step{{"", "* OK"}, {"a STARTTLS\r\n", "a OK"}}
	case "pop3":
		return []step{{"", "+OK"}, {"STLS\r\n", "+OK"}}
	case "ftp":
		return []step{{"", "220"}, {"AUTH TLS\r\n", "234"}}
	default:
		return nil
	}
}

// startTLS leads a protocol to where the handshake begins. It does nothing for a spec without one.
func (l *look) startTLS(socket *socket) error {
	steps := wayToTLS(l.job.Spec.StartTLS)
	if len(steps) == 0 {
		return nil
	}
	l.clock.enter(processing)
	in := bufio.NewReaderSize(socket, 1024)
	for _, s := range steps {
		if _, err := io.WriteString(socket, s.send); err != nil {
			return err
		}
		if err := l.reply(in, s); err != nil {
			return err
		}
	}
	if in.Buffered() > 0 { // somebody on the way may have put it there, for us to take it as said in TLS
		return errors.New("something came between the reply to STARTTLS and the handshake")
	}
	l.saw.body = nil // what is looked at is said in TLS
	l.clock.enter(idle)
	return nil
}

// reply reads up to the last line of a reply.
func (l *look) reply(in *bufio.Reader, to step) error {
	for range maxReplyLines {
		slice, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line := string(slice)
		l.saw.body = append(l.saw.body, line...)
		if goesOn(line, to.reply) {
			continue
		}
		if !strings.HasPrefix(line, to.reply) {
			asked := strings.TrimSpace(to.send)
			if asked == "" {
				asked = "the connection"
			}
			return &unmet{check.CauseProtocol, "The reply to " + asked + " is not as expected.", to.reply, strings.TrimSpace(line)}
		}
		return nil
	}
	return errors.New("the reply has too many lines")
}

// goesOn says whether another line of the reply follows: "250-" in SMTP and FTP, and what IMAP says of its own accord.
func goesOn(line, reply string) bool {
	if reply == "a OK" {
		return strings.HasPrefix(line, "* ")
	}
	isNumber := strings.Trim(reply, "0123456789") == ""
	return isNumber && len(line) > 3 && (line[3] == '-' && line[:3] == reply || line[0] == ' ')
}
