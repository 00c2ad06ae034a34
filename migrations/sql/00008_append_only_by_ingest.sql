-- Events, deliveries and idempotency keys are appended as beaconpost_ingest since migration 6; what tenants ask for never adds any.

-- +goose Up
REVOKE INSERT ON idempotency_keys, webhook_events, deliveries FROM beaconpost_api;

-- +goose Down
GRANT INSERT ON idempotency_keys, webhook_events, deliveries TO beaconpost_api;
