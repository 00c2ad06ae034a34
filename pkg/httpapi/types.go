package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Duration is a time.Duration that reads and writes as a Go string such as "1m30s".
type Duration time.Duration

// MarshalJSON writes the Go string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads the Go string.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("expected a duration such as 30s or 1m30s, below 292 years")
	}
	*d = Duration(parsed)
	return nil
}

// Schema describes the type in OpenAPI. The pattern makes most mistakes a 422 that names the field.
func (Duration) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{
		Type: huma.TypeString, Description: "A duration such as 30s or 1m30s.", Examples: []any{"30s"},
		Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`, PatternDescription: "a duration such as 30s or 1m30s",
	}
	s.PrecomputeMessages()
	return s
}

// Optional is a field of a merge patch (RFC 7396): absent, null or a value.
type Optional[T any] struct {
	Set   bool // the field was there
	Null  bool // and was null
	Value T
}

// UnmarshalJSON is called only for fields that are there.
func (o *Optional[T]) UnmarshalJSON(raw []byte) error {
	o.Set = true
	if string(raw) == "null" {
		o.Null = true
		return nil
	}
	return json.Unmarshal(raw, &o.Value)
}

// Schema describes the type in OpenAPI.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := r.Schema(reflect.TypeFor[T](), false, "")
	clone := *s
	clone.Nullable = true
	clone.PrecomputeMessages()
	return &clone
}

// Apply changes target if the field was there; null makes it the zero value.
func (o Optional[T]) Apply(target *T) {
	if !o.Set {
		return
	}
	if o.Null {
		var zero T
		*target = zero
		return
	}
	*target = o.Value
}
