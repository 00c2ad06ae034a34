package ingest

import (
	"context"
	"fmt"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	ingestpg "github.com/beaconpost/beaconpost/services/ingest/internal/postgres"
)

// Reseal seals every signing secret that an older key of keys sealed again with the first one, and says how many.
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
	return ingestpg.NewEndpoints(db, ring).Reseal(ctx)
}
