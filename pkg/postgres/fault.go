package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// SQLSTATEs for text, and for JSON, with a NUL.
const (
	characterNotInRepertoire = "22021"
	untranslatableCharacter  = "22P05"
)

// retryAfter is what a caller is told when the database is away: restarts take seconds.
const retryAfter = 2 * time.Second

// Fault turns a database error into a fault: Unavailable when the server is away, overloaded or too slow (repeating helps), Invalid
// for text that no column can hold, else internal. An error that carries a fault already passes unchanged, nil stays nil. This is the only place that decides.
func Fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if IsUnavailable(err) {
		return fault.Unavailable(err, retryAfter, "The database is not reachable at the moment. Repeat the request, with the same Idempotency-Key if it has one.")
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && (pe.Code == characterNotInRepertoire || pe.Code == untranslatableCharacter) {
		f := fault.Invalid("invalid_text", "", "Text must not contain the character U+0000, which the database cannot store.")
		f.Err = err
		return f
	}
	return fault.Internal(err)
}

// IsUnavailable reports whether err says that the database could not serve the query now, as opposed to having refused it.
func IsUnavailable(err error) bool {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Kind == fault.KindUnavailable
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return unavailableState(pe.Code)
	}
	if errors.Is(err, pgx.ErrNoRows) || errors.Is(err, pgx.ErrTooManyRows) {
		return false
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || pgconn.Timeout(err) ||
		strings.Contains(err.Error(), "closed pool") || strings.Contains(err.Error(), "conn closed")
}

// unavailableState sorts SQLSTATEs (PostgreSQL manual, appendix A).
func unavailableState(code string) bool {
	switch {
	case strings.HasPrefix(code, "08"), // connection exception
		strings.HasPrefix(code, "53"),    // insufficient resources
		strings.HasPrefix(code, "57P"),   // shutdown, crash, starting up
		strings.HasPrefix(code, "40"),    // serialization failure, deadlock
		code == "57014", code == "55P03", // cancelled, lock not available
		code == "25006": // read-only: a failover is on its way
		return true
	}
	return false
}
