package mail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/mail"
)

var ops = []string{"ops@example.com"}

func TestSendPlain(t *testing.T) {
	t.Parallel()
	r := &relay{}
	s := newSender(t, r.serve(t, nil, false))
	to := []string{"ops@example.com", "lead@example.com", "ops@example.com"}
	require.NoError(t, s.Send(t.Context(), to, down, "n-1"))
	require.NoError(t, s.Send(t.Context(), ops, alert.Message{Subject: "[RESOLVED] api", Text: "over", Threads: []string{"i1"}}, "n-2"))
	require.NoError(t, s.Send(t.Context(), ops, down, "n-1"))
	mails := r.all()
	require.Len(t, mails, 3)
	require.Equal(t, "alerts@example.com", mails[0].from)
	require.Equal(t, []string{"ops@example.com", "lead@example.com"}, mails[0].to)
	require.Equal(t, "beacon.test", r.hello)

	h := mails[0].parse(t).Header
	require.Equal(t, `"Beaconpost" <alerts@example.com>`, h.Get("From"))
	require.Equal(t, "<ops@example.com>, <lead@example.com>", h.Get("To"))
	require.Equal(t, "[DOWN] api", h.Get("Subject"))
	require.Equal(t, "auto-generated", h.Get("Auto-Submitted"))
	require.Equal(t, "<n-1@example.com>", h.Get("Message-ID"))
	require.Empty(t, h.Get("User-Agent"))
	require.NotEmpty(t, h.Get("Date"))
	require.Equal(t, map[string]string{"text/plain": "api is down.\r\n.\r\nstill\r\n", "text/html": "<p>api is down.</p>"}, parts(t, mails[0]))

	second, third := mails[1].parse(t).Header, mails[2].parse(t).Header
	require.Equal(t, "<n-2@example.com>", second.Get("Message-ID"))
	require.Equal(t, h.Get("Message-ID"), third.Get("Message-ID"), "a repeated mail can be recognised")
	require.Equal(t, "<incident-i1@example.com>", h.Get("References"))
	require.Equal(t, h.Get("References"), second.Get("References"), "they are one thread")
	require.Equal(t, h.Get("References"), second.Get("In-Reply-To"))
}

// parts gives the texts of a mail by content type.
func parts(t *testing.T, r received) map[string]string {
	t.Helper()
	m := r.parse(t)
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	if kind == "text/plain" {
		text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		require.NoError(t, err)
		return map[string]string{kind: string(text)}
	}
	require.Equal(t, "multipart/alternative", kind)
	found := map[string]string{}
	for reader := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := reader.NextPart() // decodes quoted-printable
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		require.NoError(t, err)
		require.Equal(t, "utf-8", strings.ToLower(params["charset"]))
		text, err := io.ReadAll(part)
		require.NoError(t, err)
		found[kind] = string(text)
	}
}

func TestNamesThatAreNotASCII(t *testing.T) {
	t.Parallel()
	r := &relay{}
	s := newSender(t, r.serve(t, nil, false))
	name := "Überwachung 監視 🚨 " + strings.Repeat("größer ", 12)
	m := alert.Compose(alert.Fire, []alert.Report{{Incident: uuid.New(), Monitor: name, Detail: "größer\n.\nals"}}, mailed)
	require.NoError(t, s.Send(t.Context(), ops, m, "n"))
	got := r.all()[0]
	subject, err := new(mime.WordDecoder).DecodeHeader(got.parse(t).Header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, m.Subject, subject)
	require.Equal(t, strings.ReplaceAll(m.Text, "\n", "\r\n"), parts(t, got)["text/plain"])
	for line := range strings.Lines(got.data) {
		require.LessOrEqual(t, len(line), 100, "folded")
		require.Equal(t, line, strings.ToValidUTF8(line, ""))
		require.False(t, strings.ContainsFunc(line, func(r rune) bool { return r > 0x7e }), "7 bits: %q", line)
	}
}

// Nothing that is put into a message gets a header, a recipient or a line of the dialogue.
func TestHeaderInjection(t *testing.T) {
	t.Parallel()
	r := &relay{}
	s := newSender(t, r.serve(t, nil, false))
	evil := "x\r\nBcc: all@example.com\r\n\r\nbody\r\n.\r\nMAIL FROM:<evil@example.com>\r\n"
	composed := alert.Compose(alert.Fire, []alert.Report{{Incident: uuid.New(), Monitor: evil, Target: evil, Cause: evil, Detail: evil, Evidence: evil, Link: evil}}, mailed)
	bare := alert.Message{Subject: evil, Text: evil, HTML: evil, Threads: []string{evil, "b>\r\nBcc: <c"}} // as if nobody had cleaned it
	for i, m := range []alert.Message{composed, bare} {
		require.NoError(t, s.Send(t.Context(), ops, m, evil))
		require.Len(t, r.all(), i+1, "one mail")
		got := r.all()[i]
		require.Equal(t, ops, got.to)
		require.Equal(t, "alerts@example.com", got.from)
		h := got.parse(t).Header
		require.Regexp(t, `^<[0-9a-f]{64}@example\.com>$`, h.Get("Message-ID"), "hashed")
		var names []string
		for name := range h {
			names = append(names, name)
		}
		require.ElementsMatch(t, []string{
			"From", "To", "Subject", "Date", "Message-Id", "Mime-Version", "Auto-Submitted", "X-Auto-Response-Suppress", "In-Reply-To", "References", "Content-Type",
		}, names)
	}
	for _, to := range []string{"ops@example.com\r\nRCPT TO:<all@example.com>", "ops@example.com> NOTIFY=NEVER", "Ops <ops@example.com>", "öps@example.com", ""} {
		err := s.Send(t.Context(), []string{to}, down, "n")
		require.Error(t, err)
		require.False(t, mail.Temporary(err))
	}
	require.Len(t, r.all(), 2)
}

func TestManyThreads(t *testing.T) {
	t.Parallel()
	r := &relay{}
	s := newSender(t, r.serve(t, nil, false))
	m := down
	m.Threads = nil
	for i := range alert.MaxListed {
		m.Threads = append(m.Threads, fmt.Sprintf("%036d", i))
	}
	require.NoError(t, s.Send(t.Context(), ops, m, "n"))
	got := r.all()[0]
	require.Len(t, strings.Fields(got.parse(t).Header.Get("References")), alert.MaxListed)
	for line := range strings.Lines(got.data) {
		require.LessOrEqual(t, len(line), 120)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	gone := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	busy := &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "busy\x07"}
	const a, b, c = "a@example.com", "b@example.com", "c@example.com"
	for name, tt := range map[string]struct {
		refuse    map[string]*smtp.SMTPError
		to        []string
		taken     []string
		temporary bool
		remaining []string
		says      string
	}{
		"gone":               {refuse: map[string]*smtp.SMTPError{a: gone}, to: []string{a}, says: `"a@example.com": 550 5.1.1 no such user`},
		"busy":               {refuse: map[string]*smtp.SMTPError{a: busy}, to: []string{a}, temporary: true, remaining: []string{a}, says: "450 4.2.1 busy"},
		"one is gone":        {refuse: map[string]*smtp.SMTPError{b: gone}, to: []string{a, b, c}, taken: []string{a, c}, says: b},
		"one is busy":        {refuse: map[string]*smtp.SMTPError{b: busy}, to: []string{a, b, c}, taken: []string{a, c}, temporary: true, remaining: []string{b}, says: b},
		"one of each":        {refuse: map[string]*smtp.SMTPError{a: gone, b: busy}, to: []string{a, b, c}, taken: []string{c}, temporary: true, remaining: []string{b}, says: a},
		"no address":         {to: []string{"a", c}, taken: []string{c}, says: `"a": not an address`},
		"nobody":             {says: "no recipient"},
		"mail refused":       {refuse: map[string]*smtp.SMTPError{"data": {Code: 554, Message: "spam"}}, to: []string{a, b}, says: "spam"},
		"mail not now":       {refuse: map[string]*smtp.SMTPError{"data": {Code: 451, Message: "later"}, b: gone}, to: []string{a, b}, temporary: true, remaining: []string{a}, says: "later"},
		"sender not allowed": {refuse: map[string]*smtp.SMTPError{"sender": gone}, to: []string{a}, temporary: true, remaining: []string{a}, says: "name the sender: 550"},
		"AUTH is wanted":     {refuse: map[string]*smtp.SMTPError{a: {Code: 530, Message: "who are you?"}}, to: []string{a}, temporary: true, remaining: []string{a}, says: "530"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &relay{refuse: tt.refuse}
			err := newSender(t, r.serve(t, nil, false)).Send(context.Background(), tt.to, down, "n")
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), "\x07")
			require.Equal(t, tt.temporary, mail.Temporary(err))
			require.Equal(t, tt.remaining, mail.Remaining(tt.to, err))
			if tt.taken == nil {
				require.Empty(t, r.all())
				return
			}
			require.Len(t, r.all(), 1)
			require.Equal(t, tt.taken, r.all()[0].to)
		})
	}
	require.False(t, mail.Temporary(nil))
	require.Empty(t, mail.Remaining(ops, nil))
}

func TestUnaddressedErrorsNameNobody(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("send: %w", &mail.Undelivered{Failures: []mail.Failure{
		{Address: "a@example.com", Code: 550, Err: errors.New("550 no a@example.com")}, {Address: "b@example.com", Code: 550, Err: errors.New("550 no")},
		{Address: "c@example.com", Err: errors.New("c@example.com: gone")},
	}})
	require.EqualError(t, mail.Unaddressed(err), "mail not taken for 3 recipients, by code: map[0:1 550:2]")
	other := errors.New("smtp: connect: refused")
	require.Equal(t, other, mail.Unaddressed(other))
}
