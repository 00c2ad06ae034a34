package event_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

func TestCheckType(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"a", "order.paid", "order.item.added", "Order_Paid-2", "0", "-", "_", "a.b.c.d.e.f.g", strings.Repeat("x", 200),
	} {
		require.NoError(t, event.CheckType(good), good)
	}
	for _, bad := range []string{
		"", ".", "order.", ".paid", "order..paid", "order paid", "order.*", "*", "order/paid", "órder", "order\n", "order.paid\n", "\x00", "a\x00", "\xff",
		strings.Repeat("x", 201), "order,paid", "order:paid",
	} {
		err := event.CheckType(bad)
		require.Equal(t, fault.KindInvalid, fault.KindOf(err), "%q", bad)
		require.Equal(t, fault.Code("invalid_event_type"), fault.CodeOf(err))
		require.Equal(t, "event_type", fault.From(err).Field)
	}
}

// store keeps what was appended and answers as it is told.
type store struct {
	got []event.Submission
	err error
}

func (s *store) Append(_ context.Context, sub event.Submission) (event.Receipt, error) {
	s.got = append(s.got, sub)
	return event.Receipt{ID: sub.Event.ID}, s.err
}

func submission(eventType string) event.Submission {
	return event.Submission{Tenant: tenant.ID(uuid.New()), Event: event.Event{Type: eventType, Payload: []byte(`{}`)}}
}

func TestAcceptStores(t *testing.T) {
	t.Parallel()
	s := &store{}
	given := submission("order.paid")
	given.IdempotencyKey = strings.Repeat("k", 255)
	before := time.Now().Truncate(time.Millisecond)
	receipt, err := event.NewService(s).Accept(t.Context(), given)
	require.NoError(t, err)
	require.Len(t, s.got, 1)
	id := s.got[0].Event.ID
	require.Equal(t, id, receipt.ID)
	require.Equal(t, uuid.Version(7), id.Version())
	require.WithinRange(t, s.got[0].Event.CreatedAt(), before, time.Now())
	given.Event.ID = id
	require.Equal(t, given, s.got[0], "nothing else is changed")
}

func TestTheStoresRefusalIsTheAnswer(t *testing.T) {
	t.Parallel()
	s := &store{err: fault.Unavailable(nil, 0, "Not now.")}
	_, err := event.NewService(s).Accept(t.Context(), submission("order.paid"))
	require.ErrorIs(t, err, s.err)
}

func TestBadSubmissionsReachNoStore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ eventType, key, code, field string }{
		"type":                  {"order paid", "", "invalid_event_type", "event_type"},
		"type of ours":          {"delivery.exhausted", "", "reserved_event_type", "event_type"},
		"another type of ours":  {"endpoint.failing", "", "reserved_event_type", "event_type"},
		"key with a space":      {"a", "k k", "invalid_idempotency_key", "Idempotency-Key"},
		"key with a line break": {"a", "k\nk", "invalid_idempotency_key", "Idempotency-Key"},
		"key that is no ASCII":  {"a", "schlüssel", "invalid_idempotency_key", "Idempotency-Key"},
		"key with NUL":          {"a", "k\x00", "invalid_idempotency_key", "Idempotency-Key"},
		"key with DEL":          {"a", "k\x7f", "invalid_idempotency_key", "Idempotency-Key"},
		"long key":              {"a", strings.Repeat("k", 256), "invalid_idempotency_key", "Idempotency-Key"},
	} {
		s := &store{}
		sub := submission(tt.eventType)
		sub.IdempotencyKey = tt.key
		_, err := event.NewService(s).Accept(t.Context(), sub)
		require.Equal(t, fault.KindInvalid, fault.KindOf(err), name)
		require.Equal(t, tt.code, string(fault.CodeOf(err)), name)
		require.Equal(t, tt.field, fault.From(err).Field, name)
		require.Empty(t, s.got, name)
	}
}
