package listen

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// JSONOutput writes one JSON object per line, for programs.
type JSONOutput struct{ w io.Writer }

// NewJSONOutput writes to w.
func NewJSONOutput(w io.Writer) *JSONOutput { return &JSONOutput{w} }

var _ Output = (*JSONOutput)(nil)

type jsonRecord struct {
	Time       time.Time         `json:"time"`
	ID         string            `json:"id"`
	EventType  string            `json:"event_type"`
	Attempt    int               `json:"attempt"` // 0: not said
	DeliveryID string            `json:"delivery_id"`
	Verified   *bool             `json:"verified"` // null: no secret
	Duplicate  bool              `json:"duplicate"`
	Status     int               `json:"status"` // 0: not answered
	Error      string            `json:"error,omitempty"`
	Took       string            `json:"took"`
	Method     string            `json:"method"`
	Path       string            `json:"path"`
	Headers    map[string]string `json:"headers"` // names in lower case
	Body       *string           `json:"body,omitempty"`
	BodyBase64 []byte            `json:"body_base64,omitempty"` // instead of body if that is not UTF-8
}

// Show writes rec with its whole body.
func (o *JSONOutput) Show(rec Record) error {
	line := jsonRecord{
		Time: rec.Time.UTC(), ID: rec.ID(), EventType: rec.EventType(), Attempt: rec.Attempt(), DeliveryID: rec.Header.Get(headerDeliveryID),
		Duplicate: rec.Duplicate, Status: rec.Status, Error: rec.Error, Took: rec.Took.String(),
		Method: rec.Method, Path: rec.Path, Headers: flat(rec.Header),
	}
	if rec.Checked {
		line.Verified = &rec.Verified
	}
	if text := string(rec.Body); utf8.ValidString(text) {
		line.Body = &text
	} else {
		line.BodyBase64 = rec.Body
	}
	encoder := json.NewEncoder(o.w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func flat(h http.Header) map[string]string {
	m := make(map[string]string, len(h))
	for name, values := range h {
		m[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return m
}
