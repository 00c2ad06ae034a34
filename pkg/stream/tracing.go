package stream

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// headerTraceparent is the W3C trace context of whoever published a message. A message about deliveries of several traces is published in one of them; each delivery
// has its own trace context beside it.
const headerTraceparent = "traceparent"

const system = "nats" // messaging.system

// published starts the span of a message (OpenTelemetry semantic conventions, messaging) and has the message tell of it. It gives nil if nobody would see it.
func published(t *telemetry.Tracer, msg *nats.Msg, group []DeliveryReady) trace.Span {
	if !t.Exports() {
		return nil // before a name is made
	}
	ctx, span := t.Joint(context.Background(), "publish "+destination(msg.Subject), trace.SpanKindProducer, contexts(group))
	if !span.IsRecording() {
		return nil
	}
	span.SetAttributes(
		semconv.MessagingSystemKey.String(system), semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish"),
		semconv.MessagingDestinationName(destination(msg.Subject)), semconv.MessagingMessageBodySize(len(msg.Data)), semconv.MessagingBatchMessageCount(len(group)),
	)
	if id := msg.Header[headerMsgID]; len(id) > 0 {
		span.SetAttributes(semconv.MessagingMessageID(id[0]))
	}
	msg.Header[headerTraceparent] = []string{telemetry.Traceparent(ctx)}
	return span
}

// Process starts the span of what is done with a message from a durable consumer. It is inside of the publisher's, and linked to the traces of the deliveries. It gives
// nil if nobody would see it. End it.
func Process(t *telemetry.Tracer, on, durable string, header nats.Header, group []DeliveryReady) trace.Span {
	from := header[headerTraceparent]
	if !t.Exports() || len(from) == 0 {
		return nil
	}
	publisher := trace.SpanContextFromContext(telemetry.WithTraceparent(context.Background(), from[0]))
	_, span := t.Joint(context.Background(), "process "+destination(on), trace.SpanKindConsumer, func(yield func(trace.SpanContext) bool) {
		if publisher.IsValid() && yield(publisher) {
			contexts(group)(yield)
		}
	})
	if !span.IsRecording() {
		return nil
	}
	span.SetAttributes(
		semconv.MessagingSystemKey.String(system), semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(destination(on)), semconv.MessagingConsumerGroupName(durable), semconv.MessagingBatchMessageCount(len(group)),
	)
	if id := header[headerMsgID]; len(id) > 0 {
		span.SetAttributes(semconv.MessagingMessageID(id[0]))
	}
	return span
}

func contexts(group []DeliveryReady) func(func(trace.SpanContext) bool) {
	return telemetry.Contexts(group, func(d *DeliveryReady) string { return d.Traceparent })
}

// destination is a subject without ids.
func destination(on string) string {
	if subject.IsRetry(on) {
		return subject.RetryTemplate
	}
	return on
}

// settled ends the span of a published message.
func settled(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
