package wire

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// framing says where an answer's body ends (RFC 9112, 6.3).
type framing struct {
	chunked bool
	length  int64 // -1: not said
	close   bool  // the other side takes no further request on this connection
}

// header reads one answer's status line and header, interim answers being answers too, into x.framing.
func (x *exchange) header() (status int, err error) {
	if err := x.beginsAnswer(); err != nil {
		return 0, err
	}
	line, whole, err := x.line()
	if err != nil {
		return 0, err
	}
	minor, status, ok := statusLine(line)
	if !ok {
		return 0, ProtocolError("the status line is not one of HTTP/1.1")
	}
	if !whole {
		if err := x.skipLine(); err != nil {
			return 0, err
		}
	}
	f, err := x.fields()
	if err != nil {
		return 0, err
	}
	x.framing, err = f.framing(minor)
	x.answer.RetryAfter = f.retryAfter
	return status, err
}

// beginsAnswer looks at the first bytes: what is no answer of HTTP/1 is seen at once, though its line may never end.
func (x *exchange) beginsAnswer() error {
	const begin = "HTTP/1."
	if _, err := x.in.Peek(1); err != nil {
		return nil //nolint:nilerr // whoever reads on finds it
	}
	head, _ := x.in.Peek(min(x.in.Buffered(), len(begin)))
	if string(head) != begin[:len(head)] {
		return ProtocolError("the answer does not begin as one of HTTP/1.1")
	}
	return nil
}

// fields reads up to an empty line.
func (x *exchange) fields() (f fields, err error) {
	f.length = -1
	for {
		line, whole, err := x.line()
		if err != nil {
			return f, cutShort(err)
		}
		if len(line) == 0 {
			return f, nil
		}
		if err := f.add(line, whole); err != nil {
			return f, err
		}
		if !whole {
			if err := x.skipLine(); err != nil {
				return f, err
			}
		}
	}
}

// cutShort tells an end in the middle of something from one before it.
func cutShort(err error) error {
	if err == io.EOF { //nolint:errorlint // an io.Reader's
		return io.ErrUnexpectedEOF
	}
	return err
}

// line reads a line, which it gives without its end, or the start of one that is longer than the buffer.
func (x *exchange) line() (line []byte, whole bool, err error) {
	line, err = x.in.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull: //nolint:errorlint // ReadSlice returns it itself
		if line[len(line)-1] == '\r' { // it may belong to the end of the line
			line = line[:len(line)-1]
			if err := x.in.UnreadByte(); err != nil {
				return nil, false, err
			}
		}
		x.budget -= len(line)
	case err == io.EOF && len(line) > 0:
		return nil, false, io.ErrUnexpectedEOF
	case err != nil:
		return nil, false, err
	default:
		whole = true
		x.budget -= len(line)
		line = bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
	}
	if x.budget < 0 {
		return nil, false, OversizeError(x.limits.HeaderBytes)
	}
	if hasControl(line) {
		return nil, false, ProtocolError("the header has a control character")
	}
	return line, whole, nil
}

func hasControl(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// skipLine reads the rest of a long line.
func (x *exchange) skipLine() error {
	for {
		if _, whole, err := x.line(); err != nil || whole {
			return cutShort(err)
		}
	}
}

// statusLine parses "HTTP/1.1 200 OK". What follows the code is not looked at.
func statusLine(line []byte) (minor, status int, ok bool) {
	const form = "HTTP/1.x 200"
	if len(line) < len(form) || string(line[:7]) != "HTTP/1." || line[8] != ' ' || len(line) > len(form) && line[len(form)] != ' ' {
		return 0, 0, false
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		status = 10*status + int(c-'0')
	}
	minor = int(line[7] - '0')
	return minor, status, (minor == 0 || minor == 1) && status >= 100
}

// fields gathers what frames an answer.
type fields struct {
	length    int64 // -1: none
	codings   string
	coded     bool
	close     bool
	keepAlive bool
	matters   bool // the last field is one of these
	any       bool

	retryAfter string
}

// add reads a field line. Of one that is not whole the start is enough unless it matters.
func (f *fields) add(line []byte, whole bool) error {
	if line[0] == ' ' || line[0] == '\t' { // a value that goes on: obsolete (RFC 9112, 5.2)
		if !f.any || f.matters {
			return ProtocolError("a line of the header starts with a space")
		}
		return nil
	}
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || !isToken(name) {
		return ProtocolError("a line of the header is not a field")
	}
	f.any, f.matters = true, true
	text := func() string { return strings.Trim(string(value), " \t") }
	var err error
	switch {
	case is(name, "content-length"):
		err = f.addLength(text())
	case is(name, "transfer-encoding"):
		if f.coded {
			return ProtocolError("the answer has two Transfer-Encodings")
		}
		f.codings, f.coded = text(), true
	case is(name, "connection"):
		f.addConnection(text())
	case is(name, "retry-after"):
		f.matters, f.retryAfter = false, text()
	default:
		f.matters = false
	}
	if f.matters && !whole {
		return ProtocolError("a field that frames the answer is too long")
	}
	return err
}

func (f *fields) addLength(text string) error {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || f.length >= 0 && f.length != int64(n) {
		return ProtocolError("the answer has no single Content-Length")
	}
	f.length = int64(n)
	return nil
}

func (f *fields) addConnection(text string) {
	f.close = f.close || httpguts.HeaderValuesContainsToken([]string{text}, "close")
	f.keepAlive = f.keepAlive || httpguts.HeaderValuesContainsToken([]string{text}, "keep-alive")
}

func (f *fields) framing(minor int) (framing, error) {
	out := framing{length: f.length, close: f.close || minor == 0 && !f.keepAlive}
	switch {
	case !f.coded:
	case minor == 0: // HTTP/1.0 knows no codings (RFC 9112, 6.1)
		out.close = true
	case !strings.EqualFold(f.codings, "chunked"):
		return out, ProtocolError("the answer has a transfer coding other than chunked")
	default:
		// With both, something between us and the endpoint may have read it otherwise (RFC 9112, 6.3).
		out.chunked, out.close = true, out.close || f.length >= 0
	}
	return out, nil
}

func isToken(name []byte) bool {
	for _, c := range name {
		if !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return len(name) > 0
}

// is compares without regard to case.
func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c|0x20 != lower[i] {
			return false
		}
	}
	return true
}
