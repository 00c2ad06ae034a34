package endpoint

import (
	"time"

	"github.com/google/uuid"
)

// Test is an event that is sent to an endpoint once, now, and not stored.
type Test struct {
	EventType   string
	Payload     []byte // a JSON value
	Traceparent string
}

// Tested is what came of it.
type Tested struct {
	EventID     uuid.UUID
	StatusCode  int    // 0: no answer
	ErrorClass  string // "": the answer was read
	ErrorDetail string
	Excerpt     []byte
	Truncated   bool
	StartedAt   time.Time
	Duration    time.Duration
	Phases      []Phase
}

// Phase is a part of the exchange.
type Phase struct {
	Name string
	Took time.Duration
}
