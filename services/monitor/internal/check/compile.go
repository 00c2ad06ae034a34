package check

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/theory/jsonpath"
)

// What is compiled here runs on bodies that a stranger sends, in a process that makes other checks too: each has a limit on what one may cost.
const (
	MaxPatternSize = 1000 // instructions of a regular expression; x{1000} is a thousand of them

	maxPattern  = 1000 // bytes
	maxPath     = 256  // bytes
	maxStatuses = 599
)

// Pattern is a regular expression (RE2) of a monitor.
type Pattern struct {
	*regexp.Regexp
	Size int // instructions: matching takes at worst Size steps for each character
}

// CompilePattern compiles a regular expression and refuses one that is too large.
func CompilePattern(text string) (*Pattern, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("must have at most %d bytes", maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst) > MaxPatternSize {
		return nil, errors.New("repeats too much")
	}
	compiled, err := regexp.Compile(text)
	return &Pattern{compiled, len(program.Inst)}, err
}

// CompilePath compiles a JSONPath and refuses one whose cost is more than proportional to the document: the evaluation cannot be stopped.
func CompilePath(text string) (*jsonpath.Path, error) {
	if len(text) > maxPath {
		return nil, fmt.Errorf("must have at most %d bytes", maxPath)
	}
	// Two of the first three visit each node for each node; with k commas, up to 2^k nodes come from one. The functions compile their
	// pattern for each node.
	for _, limit := range []struct {
		part string
		most int
	}{{"..", 1}, {"?", 1}, {"$", 1}, {",", 3}, {"match(", 0}, {"search(", 0}} {
		if strings.Count(text, limit.part) > limit.most {
			return nil, fmt.Errorf("must contain %q at most %d times", limit.part, limit.most)
		}
	}
	return jsonpath.Parse(text)
}

// ParseStatus reads one of Spec.StatusCodes: "200", "200-299" or "2xx".
func ParseStatus(text string) (first, last int, err error) {
	if class, ok := strings.CutSuffix(strings.ToLower(text), "xx"); ok {
		first, err = statusNumber(class + "00")
		return first, first + 99, err
	}
	from, to, isRange := strings.Cut(text, "-")
	if first, err = statusNumber(from); err != nil || !isRange {
		return first, first, err
	}
	if last, err = statusNumber(to); err == nil && last < first {
		err = errors.New("must not end before it begins")
	}
	return first, last, err
}

func statusNumber(text string) (int, error) {
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number < 100 || number > maxStatuses {
		return 0, errors.New(`must be a status such as "200", a range such as "200-299" or a class such as "2xx"`)
	}
	return int(number), nil
}

// Roots gives the authorities that a target's certificate may come from; nil: the system's.
func (o *TLSOptions) Roots() (*x509.CertPool, error) {
	if o == nil || o.CA == "" {
		return nil, nil //nolint:nilnil // nil is crypto/tls's word for the system's
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(o.CA)) {
		return nil, errors.New("must hold certificates in PEM form")
	}
	return pool, nil
}

// Certificates gives what the client shows, none or one.
func (o *TLSOptions) Certificates() ([]tls.Certificate, error) {
	if o == nil || o.ClientCertificate == "" && o.ClientKey == "" {
		return nil, nil
	}
	pair, err := tls.X509KeyPair([]byte(o.ClientCertificate), []byte(o.ClientKey))
	if err != nil {
		return nil, errors.New("must be a certificate in PEM form whose key is client_key")
	}
	return []tls.Certificate{pair}, nil
}
