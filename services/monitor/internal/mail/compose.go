package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

// Fields that go-mail has no names for.
const (
	headerAutoSubmitted = gomail.Header("Auto-Submitted") // RFC 3834: no holiday replies
	headerSuppress      = gomail.HeaderXAutoResponseSuppress
)

// compose writes the mail. Every header is encoded by go-mail, which leaves no line break in it.
//
// Messages of one incident refer to a message that does not exist, named after the incident: mail programs show them as one thread although the
// fire is not known to who gets only the end, and although one message may be about many incidents.
func (s *Sender) compose(to []string, msg alert.Message, id string, now time.Time) ([]byte, error) {
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(s.from)
	if err := m.To(to...); err != nil {
		return nil, err
	}
	m.Subject(msg.Subject)
	m.SetDateWithValue(now)
	m.SetMessageIDWithValue(s.messageID(id))
	m.SetGenHeader(headerAutoSubmitted, "auto-generated")
	m.SetGenHeader(headerSuppress, "All")
	if len(msg.Threads) > 0 {
		threads := make([]string, len(msg.Threads))
		for i, thread := range msg.Threads {
			threads[i] = "<" + s.messageID("incident-"+thread) + ">"
		}
		m.SetGenHeader(gomail.HeaderInReplyTo, threads[0])
		m.SetGenHeader(gomail.HeaderReferences, strings.Join(threads, " "))
	}
	m.SetBodyString(gomail.TypeTextPlain, msg.Text)
	if msg.HTML != "" {
		m.AddAlternativeString(gomail.TypeTextHTML, msg.HTML)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// messageID is the id at the sender's domain. One that cannot stand there as it is, is hashed.
func (s *Sender) messageID(id string) string {
	odd := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	}
	if id == "" || len(id) > 100 || strings.ContainsFunc(id, odd) {
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:])
	}
	return id + "@" + s.from.Address[strings.LastIndexByte(s.from.Address, '@')+1:]
}
