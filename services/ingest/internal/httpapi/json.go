package httpapi

// member is one of an object, as it is written: name with its quotes, value without the space around it.
type member struct{ name, value []byte }

// scanJSON reports whether b is one JSON value by RFC 8259, with space around it, and appends its members if it is an object. Every payload byte goes
// through here, once; json.Valid alone takes 1.7 times as long. Like there, arrays and objects are nested 10,000 deep at most. That b is
// UTF-8 is somebody else's to check.
func scanJSON(b []byte, members []member) (_ []member, ok bool) {
	v := validator{b: b, members: members}
	v.space()
	for {
		if !v.value() {
			return nil, false
		}
		done, ok := v.after()
		if done || !ok {
			return v.members, ok
		}
	}
}

const maxDepth = 10000

// validator walks over a value. open has the brackets that are not closed yet.
type validator struct {
	b       []byte
	i       int
	open    []byte
	members []member // of the outermost object
	present member   // the one whose value is being walked over
	start   int      // of that value
}

// at gives the present byte, 0 at the end: no JSON has a 0 outside of strings, and none within.
func (v *validator) at() byte {
	if v.i < len(v.b) {
		return v.b[v.i]
	}
	return 0
}

func (v *validator) space() {
	for v.i < len(v.b) && (v.b[v.i] == ' ' || v.b[v.i] == '\n' || v.b[v.i] == '\t' || v.b[v.i] == '\r') {
		v.i++
	}
}

// value takes a scalar, an empty array or object, or the brackets that lead to the first scalar within others.
func (v *validator) value() bool {
	for {
		switch c := v.at(); c {
		case '"':
			return v.text()
		case 't':
			return v.word("true")
		case 'f':
			return v.word("false")
		case 'n':
			return v.word("null")
		case '{', '[':
			if len(v.open) == maxDepth {
				return false
			}
			v.open = append(v.open, c)
			v.i++
			v.space()
			if next := v.at(); c == '{' && next == '}' || c == '[' && next == ']' {
				v.i++
				v.open = v.open[:len(v.open)-1]
				return true
			}
			if c == '{' && !v.name() {
				return false
			}
		default:
			return v.number()
		}
	}
}

// after takes what follows a value: the ends of what it is in, and a comma with the name of the next member.
func (v *validator) after() (done, ok bool) {
	for {
		if len(v.open) == 1 && v.open[0] == '{' {
			v.present.value = v.b[v.start:v.i:v.i]
			v.members = append(v.members, v.present)
		}
		v.space()
		if len(v.open) == 0 {
			return true, v.i == len(v.b)
		}
		in := v.open[len(v.open)-1]
		switch c := v.at(); {
		case c == ',':
			v.i++
			v.space()
			return false, in == '[' || v.name()
		case c == '}' && in == '{', c == ']' && in == '[':
			v.i++
			v.open = v.open[:len(v.open)-1]
		default:
			return false, false
		}
	}
}

// name takes the name of a member and the colon.
func (v *validator) name() bool {
	start := v.i
	if v.at() != '"' || !v.text() {
		return false
	}
	end := v.i
	v.space()
	if v.at() != ':' {
		return false
	}
	v.i++
	v.space()
	if len(v.open) == 1 {
		v.present.name, v.start = v.b[start:end], v.i
	}
	return true
}

func (v *validator) word(want string) bool {
	if len(v.b)-v.i < len(want) || string(v.b[v.i:v.i+len(want)]) != want {
		return false
	}
	v.i += len(want)
	return true
}

// text takes a string.
func (v *validator) text() bool {
	b := v.b
	for i := v.i + 1; i < len(b); i++ {
		c := b[i]
		if c != '"' && c != '\\' && c >= ' ' {
			continue
		}
		if c == '"' {
			v.i = i + 1
			return true
		}
		n := 0
		if c == '\\' {
			n = escape(b[i:])
		}
		if n == 0 {
			return false
		}
		i += n - 1
	}
	return false
}

// escape gives the length of the escape sequence that b starts with, 0 if it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		const length = 6
		if len(b) < length {
			return 0
		}
		for _, c := range b[2:length] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return 0
			}
		}
		return length
	}
	return 0
}

func (v *validator) number() bool {
	if v.at() == '-' {
		v.i++
	}
	if v.at() == '0' {
		v.i++
	} else if !v.digits() {
		return false
	}
	if v.at() == '.' {
		v.i++
		if !v.digits() {
			return false
		}
	}
	if c := v.at(); c == 'e' || c == 'E' {
		v.i++
		if c := v.at(); c == '+' || c == '-' {
			v.i++
		}
		return v.digits()
	}
	return true
}

// digits takes one digit or more.
func (v *validator) digits() bool {
	start := v.i
	for v.i < len(v.b) && v.b[v.i] >= '0' && v.b[v.i] <= '9' {
		v.i++
	}
	return v.i > start
}
