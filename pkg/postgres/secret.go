package postgres

import (
	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// SecretAAD is the additional data that an endpoint's secret is sealed with: a ciphertext copied to another row does not open. Ingest
// seals, delivery opens.
func SecretAAD(t tenant.ID, endpointID, secretID uuid.UUID) []byte {
	aad := make([]byte, 0, 48)
	aad = append(aad, t[:]...)
	aad = append(aad, endpointID[:]...)
	return append(aad, secretID[:]...)
}
