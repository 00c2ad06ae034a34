// Package account owns tenants, their projects and their API keys: what they are and which are acceptable.
package account

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Tenant is an isolated customer account.
type Tenant struct {
	ID        tenant.ID
	Name      string
	CreatedAt time.Time
}

// Project is a grouping inside a tenant.
type Project struct {
	ID        uuid.UUID
	Name      string
	CreatedAt time.Time
}

// APIKey is a credential of a tenant. The key itself is known only to the one who made it.
type APIKey struct {
	ID        uuid.UUID
	Name      string
	Prefix    string // the first characters, to recognise a key by
	Scopes    []string
	CreatedAt time.Time
	ExpiresAt *time.Time
	RevokedAt *time.Time
}

const maxName = 200

// CheckName says whether a tenant, project or key can have this name.
func CheckName(name string) error {
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > maxName || strings.ContainsRune(name, 0) {
		return fault.Invalid("invalid_name", "name", "Expected 1 to 200 characters.")
	}
	return nil
}
