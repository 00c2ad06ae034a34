package delivery

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Phase is a part of a test attempt.
type Phase struct {
	Name string // resolve, connect, handshake, send, wait or receive
	Took time.Duration
}

// Tested is what came of a test attempt.
type Tested struct {
	EventID uuid.UUID
	Attempt *Attempt
	Phases  []Phase // those that were begun, in order
}

// Tester makes test attempts: one each, at once, which are not recorded and count for nothing.
type Tester struct {
	Targets TargetStore
	Sender  TestSender
}

// TargetStore reads endpoints.
type TargetStore interface {
	// Target gives an endpoint of a tenant, nil if there is none.
	Target(ctx context.Context, endpoint Ref) (*Target, error)
}

// TestSender makes an attempt over a connection of its own.
type TestSender interface {
	Test(ctx context.Context, job *Job) (*Attempt, []Phase)
}

// TestEvent is what a test sends.
type TestEvent struct {
	Type        string
	Payload     []byte
	Traceparent string
	Limit       time.Duration // of the attempt, if the endpoint's own is longer
}

// Test makes an attempt at an endpoint. It gives nil if the tenant has no such endpoint.
func (t *Tester) Test(ctx context.Context, endpoint Ref, event TestEvent) (*Tested, error) {
	target, err := t.Targets.Target(ctx, endpoint)
	if err != nil || target == nil || target.Deleted {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	limited := *target
	limited.Timeout = min(limited.Timeout, event.Limit)
	job := &Job{
		Ref: Ref{Tenant: endpoint.Tenant, ID: id}, Attempt: 1, EventID: id, EventType: event.Type, Payload: event.Payload, Target: &limited, Traceparent: event.Traceparent,
	}
	attempt, phases := t.Sender.Test(ctx, job)
	if attempt == nil {
		return nil, context.Cause(ctx)
	}
	return &Tested{id, attempt, phases}, nil
}
