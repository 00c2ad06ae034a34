package monitor

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/stream"
	monitorpg "github.com/beaconpost/beaconpost/services/monitor/internal/postgres"
)

// Reseal seals the secrets of every monitor that an older key of keys sealed again with the first one, and says how many.
func Reseal(ctx context.Context, databaseURL, keys config.Secret) (int, error) {
	ring, err := secretbox.ParseKeyring(keys.Reveal())
	if err != nil {
		return 0, fmt.Errorf("BEACONPOST_SECRETS_KEYS: %w", err)
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: databaseURL.Reveal(), ApplicationName: "beaconpost-reseal"})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	store, err := monitorpg.NewStore(db, ring, func(...stream.DeliveryReady) {}, zerolog.Nop())
	if err != nil {
		return 0, err
	}
	return store.Reseal(ctx)
}
