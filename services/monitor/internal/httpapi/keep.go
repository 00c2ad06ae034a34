package httpapi

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// pageInput is what a list that cannot be filtered takes.
type pageInput struct{ httpapi.Page }

// created reads settings and stores what they say under a new id.
func created[T any](ctx context.Context, read func(uuid.UUID) (T, error), store func(context.Context, tenant.ID, T) error) (T, error) {
	id, err := uuid.NewV7()
	if err != nil {
		var none T
		return none, fmt.Errorf("make id: %w", err)
	}
	return stored(ctx, id, read, store)
}

// stored reads settings and stores what they say under an id.
func stored[T any](ctx context.Context, id uuid.UUID, read func(uuid.UUID) (T, error), store func(context.Context, tenant.ID, T) error) (T, error) {
	item, err := read(id)
	if err != nil {
		return item, err
	}
	return item, store(ctx, httpapi.Tenant(ctx), item)
}

// listed is a page of what is stored.
func listed[T, V any](
	ctx context.Context, page httpapi.Page, list func(context.Context, tenant.ID, *uuid.UUID, int) ([]T, error), view func(T) V, id func(V) uuid.UUID,
) (httpapi.List[V], error) {
	cursor, err := page.After()
	if err != nil {
		return httpapi.List[V]{}, err
	}
	items, err := list(ctx, httpapi.Tenant(ctx), cursor, page.Limit)
	if err != nil {
		return httpapi.List[V]{}, err
	}
	return httpapi.NewList(page, views(items, view), id), nil
}
