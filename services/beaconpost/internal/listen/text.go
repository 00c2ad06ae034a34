package listen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/beaconpost/beaconpost/pkg/config"
)

// TextOutput writes a few lines per record, for people.
type TextOutput struct {
	w         io.Writer
	bodyLimit config.ByteSize
}

// NewTextOutput writes to w; of each body it shows bodyLimit bytes, 0 none.
func NewTextOutput(w io.Writer, bodyLimit config.ByteSize) *TextOutput {
	return &TextOutput{w, bodyLimit}
}

var _ Output = (*TextOutput)(nil)

// Show writes rec: a line with what matters most, a line of ids, the body.
//
//	12:04:05.123  order.paid  attempt 2  ✓ verified  duplicate  → 200
//	  webhook-id 0198…  delivery 0198…  traceparent 00-…
//	  {
//	    "order": 42
//	  }
func (o *TextOutput) Show(rec Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", rec.Time.Local().Format("15:04:05.000"), summary(rec), outcome(rec))
	if ids := identity(rec); ids != "" {
		fmt.Fprintf(&b, "  %s\n", ids)
	}
	if body := o.body(rec.Body); body != "" {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(body, "\n", "\n  "))
	}
	b.WriteByte('\n')
	if _, err := io.WriteString(o.w, printable(b.String())); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func summary(rec Record) string {
	parts := []string{rec.EventType()}
	if parts[0] == "" {
		parts[0] = rec.Method + " " + rec.Path
	}
	if n := rec.Attempt(); n > 0 {
		parts = append(parts, fmt.Sprintf("attempt %d", n))
	}
	switch {
	case rec.Verified:
		parts = append(parts, "✓ verified")
	case rec.Error == "":
		parts = append(parts, "– not verified, no --secret")
	}
	if rec.Duplicate {
		parts = append(parts, "duplicate")
	}
	return strings.Join(parts, "  ")
}

func outcome(rec Record) string {
	text := ""
	if rec.Error != "" {
		text = "✗ " + rec.Error + "  "
	}
	if rec.Status != 0 {
		return fmt.Sprintf("%s→ %d", text, rec.Status)
	}
	return fmt.Sprintf("%s(after %.1f s)", text, rec.Took.Seconds())
}

func identity(rec Record) string {
	var parts []string
	for _, h := range []struct{ label, name string }{
		{"webhook-id", "Webhook-Id"}, {"delivery", headerDeliveryID}, {"traceparent", headerTraceparent},
	} {
		if value := rec.Header.Get(h.name); value != "" {
			parts = append(parts, h.label+" "+value)
		}
	}
	return strings.Join(parts, "  ")
}

// body gives JSON indented and anything else as it is, cut to the limit.
func (o *TextOutput) body(body []byte) string {
	if len(body) == 0 || o.bodyLimit <= 0 {
		return ""
	}
	if !utf8.Valid(body) {
		return fmt.Sprintf("(%d bytes, not UTF-8)", len(body))
	}
	text := body
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, "", "  ") == nil {
		text = pretty.Bytes()
	}
	text = bytes.TrimRight(text, " \t\r\n")
	if int64(len(text)) <= int64(o.bodyLimit) {
		return string(text)
	}
	cut := strings.ToValidUTF8(string(text[:o.bodyLimit]), "") // the limit may be within a rune
	return fmt.Sprintf("%s …\n(%d bytes in all)", cut, len(body))
}

// printable replaces what could steer a terminal: the sender chooses the body and the headers.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		if r == '\t' {
			return ' '
		}
		return '·'
	}, text)
}
