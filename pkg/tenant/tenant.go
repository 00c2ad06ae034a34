// Package tenant names the boundary of row-level security.
//
// It owns the tenant's id type and nothing else: who may act for a tenant is decided in pkg/auth, and the
// isolation itself lives in Postgres (pkg/postgres, migrations).
package tenant

import (
	"fmt"

	"github.com/google/uuid"
)

// ID identifies a tenant. It is a UUID; its zero value names no tenant.
type ID uuid.UUID

// Nil is the zero ID.
var Nil ID

// Parse reads an ID in its canonical text form (RFC 9562).
func Parse(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return Nil, fmt.Errorf("parse tenant id: %w", err)
	}
	return ID(u), nil
}

// UUID gives the id as the library's type, for drivers and encoders.
func (id ID) UUID() uuid.UUID { return uuid.UUID(id) }

// String gives the canonical text form.
func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero reports whether id names no tenant.
func (id ID) IsZero() bool { return id == Nil }
