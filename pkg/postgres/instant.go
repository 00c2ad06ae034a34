package postgres

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Instant reads a time in UTC; null and infinity are the zero time.
type Instant struct{ Time *time.Time }

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (i Instant) ScanTimestamptz(v pgtype.Timestamptz) error {
	*i.Time = time.Time{}
	if v.Valid && v.InfinityModifier == pgtype.Finite {
		*i.Time = v.Time.UTC()
	}
	return nil
}

// NullTime writes the zero time as null.
func NullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
