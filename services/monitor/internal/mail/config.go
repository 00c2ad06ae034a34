package mail

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

// How the connection to the relay is protected.
const (
	STARTTLS = "starttls" // required, not only tried
	TLS      = "tls"      // from the first byte
	NoTLS    = "none"
)

// timeoutMost lets two messages, one after the other, be sent before another process believes that they were not.
const timeoutMost = 50 * time.Second

// Config says through which relay mail is sent. Without a host, none is.
type Config struct {
	Host      string        `env:"HOST" doc:"The relay that mail is sent through; not set: channels of kind email do not work."`
	Port      int           `env:"PORT" envDefault:"587" doc:"Its port: usually 587 with starttls, 465 with tls."`
	Username  string        `env:"USERNAME" doc:"For AUTH; not set: none."`
	Password  config.Secret `env:"PASSWORD" doc:"For AUTH."`
	From      string        `env:"FROM" doc:"The sender, such as \"Beaconpost <alerts@example.com>\"."`
	TLS       string        `env:"TLS" envDefault:"starttls" doc:"starttls (required), tls (from the first byte) or none."`
	CAFile    string        `env:"CA_FILE" doc:"PEM file with certificates of authorities that are trusted beside the system's."`
	Timeout   time.Duration `env:"TIMEOUT" envDefault:"30s" doc:"Bound on sending one message, at most 50s, from resolving the relay's name to its answer."`
	HelloName string        `env:"HELLO_NAME" doc:"The name that is given in EHLO; the host's name unless set."`
}

// Enabled says whether mail can be sent.
func (c Config) Enabled() bool { return c.Host != "" }

// Validate implements config.Validator.
func (c Config) Validate() []error {
	if !c.Enabled() {
		return nil
	}
	var problems []error
	add := func(name, format string, args ...any) {
		problems = append(problems, config.Invalid(name, format, args...))
	}
	if strings.ContainsAny(c.Host, ":/ \t\r\n") && strings.Count(c.Host, ":") < 2 {
		add("HOST", "expected a name or an address without port, got %q", c.Host)
	}
	if c.Port < 1 || c.Port > 65535 {
		add("PORT", "expected 1 to 65535, got %d", c.Port)
	}
	if from, err := mail.ParseAddress(c.From); err != nil || !alert.IsAddress(from.Address) {
		add("FROM", "expected an address such as \"Beaconpost <alerts@example.com>\", got %q", c.From)
	}
	if (c.Username == "") != (c.Password == "") {
		add("USERNAME", "expected both USERNAME and PASSWORD, or neither")
	}
	switch c.TLS {
	case STARTTLS, TLS:
	case NoTLS:
		if c.Username != "" {
			add("TLS", "expected starttls or tls: a password is not sent in the clear")
		}
	default:
		add("TLS", "expected starttls, tls or none, got %q", c.TLS)
	}
	if c.Timeout <= 0 || c.Timeout > timeoutMost {
		add("TIMEOUT", "expected more than 0s and at most %s, got %s", timeoutMost, c.Timeout)
	}
	if strings.ContainsFunc(c.HelloName, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		add("HELLO_NAME", "expected a host name, got %q", c.HelloName)
	}
	return problems
}

// helloName is what a relay is greeted with.
func (c Config) helloName() string {
	if c.HelloName != "" {
		return c.HelloName
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

// roots are the authorities that the relay's certificate may come from; nil: the system's.
func (c Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's authorities: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("read authorities: no certificate in " + c.CAFile)
	}
	return pool, nil
}
