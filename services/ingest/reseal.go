package ingest

import (
	"context"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service"
	ingestpg "github.com/beaconpost/beaconpost/services/ingest/internal/postgres"
)

// Reseal seals every signing secret that an older key of keys sealed again with the first one, and says how many.
func Reseal(ctx context.Context, databaseURL, keys config.Secret) (int, error) {
	return service.Reseal(ctx, databaseURL, keys, func(ctx context.Context, db *postgres.DB, ring *secretbox.Keyring) (int, error) {
		return ingestpg.NewEndpoints(db, ring).Reseal(ctx)
	})
}
