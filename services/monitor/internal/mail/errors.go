package mail

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"unicode"
)

// Failure is a recipient that the mail was not taken for.
type Failure struct {
	Address   string
	Code      int // of the relay's answer; 0: there was none
	Temporary bool
	Err       error // what the relay said, in one line
}

// Undelivered says for whom the relay did not take a mail. It did for the others.
type Undelivered struct {
	Failures []Failure
	nobody   bool // there was no recipient
}

// Error gives what was said of each.
func (u *Undelivered) Error() string {
	if u.nobody {
		return "mail has no recipient"
	}
	list := make([]string, len(u.Failures))
	for i, f := range u.Failures {
		list[i] = fmt.Sprintf("%q: %v", f.Address, f.Err)
	}
	return "mail not taken for " + strings.Join(list, "; ")
}

func (u *Undelivered) err() error {
	if u.nobody || len(u.Failures) > 0 {
		return u
	}
	return nil
}

// Unaddressed is an error of sending without whom it was sent to, for logs: the relay's codes with how many recipients each was for, 0 being no answer.
func Unaddressed(err error) error {
	u, ok := errors.AsType[*Undelivered](err)
	if !ok || u.nobody {
		return err
	}
	codes := map[int]int{}
	for _, f := range u.Failures {
		codes[f.Code]++
	}
	return fmt.Errorf("mail not taken for %d recipients, by code: %v", len(u.Failures), codes)
}

// Temporary says whether sending again may help: unless everybody that was left out is refused for good. Whatever is between the operator and
// the relay (no connection, a certificate, a password, a sender that is not allowed) is temporary: somebody can mend it, and alerts would be lost.
func Temporary(err error) bool {
	if err == nil {
		return false
	}
	u, ok := errors.AsType[*Undelivered](err)
	if !ok {
		return true
	}
	for _, f := range u.Failures {
		if f.Temporary {
			return true
		}
	}
	return false
}

// Remaining gives those of the addresses that a mail, whose sending gave err, should be sent to again.
func Remaining(to []string, err error) []string {
	if err == nil {
		return nil
	}
	u, ok := errors.AsType[*Undelivered](err)
	if !ok {
		return to
	}
	var again []string
	for _, f := range u.Failures {
		if f.Temporary {
			again = append(again, f.Address)
		}
	}
	return again
}

// answered says whether err is a refusal by the relay, not a failure of the session.
func answered(err error) bool {
	said, ok := errors.AsType[*textproto.Error](err)
	return ok && said.Code >= 400 && said.Code < 600
}

// refusal is what the relay said of a recipient. 530 asks for AUTH: that is not about the recipient.
func (s *Sender) refusal(address string, err error) Failure {
	said, ok := errors.AsType[*textproto.Error](err)
	permanent := ok && said.Code/100 == 5 && said.Code != 530
	f := Failure{Address: address, Temporary: !permanent, Err: s.readable(err)}
	if ok {
		f.Code = said.Code
	}
	return f
}

// explain says what was being done, and why it ended if it was not the relay's doing.
func (s *Sender) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("smtp: %s: %w (%w)", doing, context.Cause(ctx), s.readable(err))
	}
	return fmt.Errorf("smtp: %s: %w", doing, s.readable(err))
}

const maxReply = 200

// readable makes one short line of an error, whose text may be anything that a relay said: even the password that it was sent.
func (s *Sender) readable(err error) error {
	text := err.Error()
	if said, ok := errors.AsType[*textproto.Error](err); ok { // whose own text is quoted
		text = fmt.Sprintf("%03d %s", said.Code, said.Msg)
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s.redact(text), "?"))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxReply {
		text = string(runes[:maxReply]) + "…"
	}
	return errors.New(text)
}

func (s *Sender) redact(text string) string {
	password := s.cfg.Password.Reveal()
	if password == "" {
		return text
	}
	encode := base64.StdEncoding.EncodeToString
	for _, secret := range []string{encode([]byte("\x00" + s.cfg.Username + "\x00" + password)), encode([]byte(password)), password} {
		text = strings.ReplaceAll(text, secret, s.cfg.Password.String())
	}
	return text
}
