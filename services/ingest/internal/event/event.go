// Package event owns what an event is, when one is acceptable, and which endpoints it goes to.
//
// It knows neither HTTP nor SQL. Acceptance is: check the submission, store it durably together with its deliveries (Store), which then
// announces the deliveries to the broker without waiting (Announcer).
package event

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// Event is an immutable fact of a tenant.
type Event struct {
	ID         uuid.UUID // UUIDv7; its millisecond is the event's time
	ProjectID  *uuid.UUID
	EndpointID *uuid.UUID // set when the producer named one
	Type       string
	Payload    []byte // a JSON value, byte for byte as received
}

// CreatedAt gives the millisecond in which the event was accepted.
func (e Event) CreatedAt() time.Time { return uuid7.Time(e.ID) }

// Delivery is one event on its way to one endpoint.
type Delivery struct {
	Tenant      tenant.ID
	ID          uuid.UUID
	EventID     uuid.UUID
	EndpointID  uuid.UUID
	DueAt       time.Time // zero: parked
	Traceparent string
}

// Submission is an event that a producer wants accepted.
type Submission struct {
	Tenant         tenant.ID
	Event          Event  // ID is set by Accept
	IdempotencyKey string // "" for none
	BodyHash       [32]byte
	Traceparent    string
}

// Receipt says what became of a submission.
type Receipt struct {
	ID       uuid.UUID
	Replayed bool // the idempotency key was seen before: ID is the first event's
}

// Store keeps events. Append returns after the event, its deliveries and its idempotency key are committed together and the deliveries
// announced, or with a fault after nothing was. Errors are faults.
type Store interface {
	Append(ctx context.Context, s Submission) (Receipt, error)
}

// Announcer tells the broker about deliveries that are due: all that were committed together. It does not wait and cannot fail: what it does
// not manage the reconciler does.
type Announcer interface {
	Announce(deliveries []Delivery)
}

// Service accepts events. It is safe for concurrent use.
type Service struct{ store Store }

// NewService makes a Service.
func NewService(store Store) *Service { return &Service{store: store} }

// Accept takes s in. When it returns without error the event is durable. Errors are faults.
func (svc *Service) Accept(ctx context.Context, s Submission) (Receipt, error) {
	if err := CheckSendable(s.Event.Type); err != nil {
		return Receipt{}, err
	}
	if err := checkKey(s.IdempotencyKey); err != nil {
		return Receipt{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Receipt{}, fmt.Errorf("make event id: %w", err)
	}
	s.Event.ID = id
	return svc.store.Append(ctx, s)
}

const maxTypeLength = 200

// CheckSendable says whether a producer may send events of a type.
func CheckSendable(name string) error {
	if err := CheckType(name); err != nil {
		return err
	}
	if notice.Reserved(name) {
		return fault.Invalid("reserved_event_type", "event_type", "Events of this type are made by Beaconpost itself; give another name.")
	}
	return nil
}

// CheckType says whether name can be an event type: words of letters, digits, _ and -, joined by dots, at most 200 characters.
func CheckType(name string) error {
	if len(name) <= maxTypeLength && isDotted(name) {
		return nil
	}
	return fault.Invalid("invalid_event_type", "event_type",
		"Expected a dotted name such as order.paid: words of letters, digits, _ and -, joined by dots, at most 200 characters.")
}

// isDotted says whether name is one or more words joined by dots. A regular expression for it was 1 % of the service.
func isDotted(name string) bool {
	word := 0 // length of the present one
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
			word++
		case c == '.' && word > 0:
			word = 0
		default:
			return false
		}
	}
	return word > 0
}

const maxKeyLength = 255

func checkKey(key string) error {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return fault.Invalid("invalid_idempotency_key", "Idempotency-Key", "Expected visible ASCII characters.")
		}
	}
	if len(key) > maxKeyLength {
		return fault.Invalid("invalid_idempotency_key", "Idempotency-Key", "Expected at most 255 characters.")
	}
	return nil
}

// Summary is an event without its payload.
type Summary struct {
	ID           uuid.UUID
	ProjectID    *uuid.UUID
	EndpointID   *uuid.UUID
	Type         string
	PayloadBytes int
}

// Query selects events of a tenant for a list.
type Query struct {
	Type   string // "", a type, or a prefix such as order.*
	After  time.Time
	Before time.Time  // exclusive; zero: no bound
	Cursor *uuid.UUID // start after this id
	Limit  int
}
