-- A delivery that has not been delivered at this age is not attempted again.

-- +goose Up
ALTER TABLE endpoints ADD COLUMN retry_max_age_ms bigint CHECK (retry_max_age_ms > 0); -- null: the installation's

-- +goose Down
ALTER TABLE endpoints DROP COLUMN retry_max_age_ms;
