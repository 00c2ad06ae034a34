package natsembed

import (
	"fmt"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// logger passes the server's warnings and errors on. What the server calls fatal must not end the process: the
// first such message is kept, for Start to return.
type logger struct {
	log zerolog.Logger

	mu    sync.Mutex
	first error
}

var _ server.Logger = (*logger)(nil)

func (l *logger) Warnf(format string, v ...any)  { l.log.Warn().Msgf(format, v...) }
func (l *logger) Errorf(format string, v ...any) { l.log.Error().Msgf(format, v...) }
func (l *logger) Noticef(string, ...any)         {}
func (l *logger) Debugf(string, ...any)          {}
func (l *logger) Tracef(string, ...any)          {}

func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = fmt.Errorf(format, v...)
	}
	l.log.Error().Msgf(format, v...)
}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
