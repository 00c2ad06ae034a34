-- Attempts are read by delivery and by nothing else: one index that starts with it serves identity too, instead of two.

-- +goose Up
ALTER TABLE delivery_attempts DROP CONSTRAINT delivery_attempts_pkey, ADD PRIMARY KEY (tenant_id, delivery_id, id);
DROP INDEX delivery_attempts_by_delivery;

-- +goose Down
ALTER TABLE delivery_attempts DROP CONSTRAINT delivery_attempts_pkey, ADD PRIMARY KEY (tenant_id, id);
CREATE INDEX delivery_attempts_by_delivery ON delivery_attempts (tenant_id, delivery_id);
