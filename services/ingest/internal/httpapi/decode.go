package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// EventRequest is the body of POST /v1/events. It is decoded by hand: the payload must stay the bytes that were sent.
type EventRequest struct {
	EventType  string          `json:"event_type" doc:"A dotted name such as order.paid." maxLength:"200"`
	Payload    json.RawMessage `json:"payload" doc:"Any JSON value. It is stored, signed and sent byte for byte."`
	EndpointID *uuid.UUID      `json:"endpoint_id,omitempty" format:"uuid" doc:"Send to this endpoint only, whatever its filter."`
	ProjectID  *uuid.UUID      `json:"project_id,omitempty" format:"uuid" doc:"The project that the event belongs to."`
	TenantID   *uuid.UUID      `json:"tenant_id,omitempty" format:"uuid" doc:"May be given; it must be the credential's."`
}

// decodeEvent reads body. The payload of the result shares body's memory. Errors are faults that name the field.
func decodeEvent(body []byte, maxPayload int) (EventRequest, error) {
	var req EventRequest
	var some [8]member // a good event has five at most
	members, ok := scanJSON(body, some[:0])
	if !ok || !utf8.Valid(body) {
		return req, notJSON(body)
	}
	if bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
		return req, fault.Invalid("wrong_type", "", "Expected a JSON object with event_type and payload.")
	}
	names := make([]string, 0, len(some)) // a body with more of them ends at the first that is not known
	for _, m := range members {
		name := unquote(m.name)
		if slices.Contains(names, name) {
			return req, fault.Invalid("duplicate_field", name, "The field appears twice.")
		}
		names = append(names, name)
		if err := req.set(name, m.value); err != nil {
			return req, err
		}
	}
	for _, name := range []string{"event_type", "payload"} {
		if !slices.Contains(names, name) {
			return req, fault.Invalid("missing_field", name, "The field is required.")
		}
	}
	if len(req.Payload) > maxPayload {
		return req, payloadTooLarge(maxPayload)
	}
	return req, nil
}

func payloadTooLarge(limit int) error {
	return fault.TooLarge("payload_too_large", "payload", fmt.Sprintf("Expected at most %d bytes.", limit))
}

func (r *EventRequest) set(name string, raw []byte) (err error) {
	switch name {
	case "event_type":
		if raw[0] != '"' {
			return fault.Invalid("wrong_type", name, "Expected a string.")
		}
		r.EventType = unquote(raw)
	case "payload":
		r.Payload = raw
	case "endpoint_id":
		r.EndpointID, err = optionalID(name, raw)
	case "project_id":
		r.ProjectID, err = optionalID(name, raw)
	case "tenant_id":
		r.TenantID, err = optionalID(name, raw)
	default:
		return fault.Invalid("unknown_field", name, "There is no such field. Expected event_type, payload, endpoint_id, project_id, tenant_id.")
	}
	return err
}

func optionalID(name string, raw []byte) (*uuid.UUID, error) {
	if string(raw) == "null" {
		return nil, nil //nolint:nilnil // null and absent are the same
	}
	if len(raw) != 38 || raw[0] != '"' {
		return nil, fault.Invalid("wrong_type", name, "Expected a UUID in its 36-character form.")
	}
	id, err := uuid.ParseBytes(raw[1:37])
	if err != nil {
		return nil, fault.Invalid("wrong_type", name, "Expected a UUID in its 36-character form.")
	}
	return &id, nil
}

// notJSON says why body is not JSON.
func notJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return fault.Malformed("invalid_json", "", "The body is empty; expected a JSON object.", nil)
	}
	message := "The body is not valid UTF-8."
	var raw json.RawMessage
	if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &raw)); ok {
		message = fmt.Sprintf("The body is not valid JSON: %s at byte %d.", syntax.Error(), syntax.Offset)
	}
	return fault.Malformed("invalid_json", "", message, nil)
}

// unquote gives the text of a valid JSON string.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var text string
	_ = json.Unmarshal(raw, &text) // valid: cannot fail
	return text
}
