package service

import (
	"context"
	"fmt"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
)

// Reseal opens the database and the ring of keys for work that seals secrets again, and gives what it gives: how many it sealed.
func Reseal(ctx context.Context, databaseURL, keys config.Secret, seal func(context.Context, *postgres.DB, *secretbox.Keyring) (int, error)) (int, error) {
	ring, err := secretbox.ParseKeyring(keys.Reveal())
	if err != nil {
		return 0, fmt.Errorf("BEACONPOST_SECRETS_KEYS: %w", err)
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: databaseURL.Reveal(), ApplicationName: "beaconpost-reseal"})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return seal(ctx, db, ring)
}
