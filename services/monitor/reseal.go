package monitor

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream"
	monitorpg "github.com/beaconpost/beaconpost/services/monitor/internal/postgres"
)

// Reseal seals the secrets of every monitor that an older key of keys sealed again with the first one, and says how many.
func Reseal(ctx context.Context, databaseURL, keys config.Secret) (int, error) {
	return service.Reseal(ctx, databaseURL, keys, func(ctx context.Context, db *postgres.DB, ring *secretbox.Keyring) (int, error) {
		store, err := monitorpg.NewStore(db, ring, func(...stream.DeliveryReady) {}, zerolog.Nop())
		if err != nil {
			return 0, err
		}
		return store.Reseal(ctx)
	})
}
