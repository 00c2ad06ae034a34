// Package uuid7 reads and makes the time in UUIDv7s (RFC 9562, section 5.7): the ids of events, deliveries and attempts carry their time.
package uuid7

import (
	"crypto/rand"
	"time"

	"github.com/google/uuid"
)

// Time gives the millisecond in id, in UTC.
func Time(id uuid.UUID) time.Time {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms).UTC()
}

// Floor gives the smallest UUID whose time is not before t's millisecond: the bound of a key range. Times outside of what a UUIDv7 can
// say are moved to the nearest that it can.
func Floor(t time.Time) uuid.UUID {
	const most = 1<<48 - 1
	ms := min(max(t.UnixMilli(), 0), most)
	var id uuid.UUID
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // the lowest 8 bits are meant
	}
	return id
}

// Beside makes a new UUIDv7 in the millisecond of id.
func Beside(id uuid.UUID) uuid.UUID {
	var made uuid.UUID
	_, _ = rand.Read(made[6:]) // never fails, see crypto/rand
	copy(made[:6], id[:6])
	made[6] = made[6]&0x0f | 0x70 // version 7
	made[8] = made[8]&0x3f | 0x80 // variant of RFC 9562
	return made
}
