package httpapi

import (
	"encoding/base64"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// Page is the part of a list request that every list has. Lists are newest first.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"How many items at most."`
	Cursor string `query:"cursor" maxLength:"64" doc:"next_cursor of the page before."`
}

// List is a page of items.
type List[T any] struct {
	Data       []T    `json:"data" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Where the next page starts; absent on the last page."`
}

// After reads the cursor: the id that the page starts after, nil for the first page. A cursor that we did not make is a fault.
func (p Page) After() (*uuid.UUID, error) {
	if p.Cursor == "" {
		return nil, nil //nolint:nilnil // no cursor is not an error, and every id is a valid one
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil {
		var id uuid.UUID
		if id, err = uuid.FromBytes(raw); err == nil {
			return &id, nil
		}
	}
	return nil, fault.Invalid("invalid_cursor", "cursor", "The cursor is not one that a list returned; start without one.")
}

// NewList cuts items to the page's limit. It expects to be given one item more than the limit when there are more.
func NewList[T any](p Page, items []T, id func(T) uuid.UUID) List[T] {
	if len(items) <= p.Limit {
		if items == nil {
			items = []T{}
		}
		return List[T]{Data: items}
	}
	items = items[:p.Limit]
	last := id(items[len(items)-1])
	return List[T]{Data: items, NextCursor: base64.RawURLEncoding.EncodeToString(last[:])}
}

// OptionalID reads an id from a query parameter that may be absent.
func OptionalID(field, text string) (*uuid.UUID, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // absent is not an error
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return nil, fault.Invalid("invalid_id", field, "Expected a UUID.")
	}
	return &id, nil
}
