package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

const (
	someID  = "0190f0a4-0000-7000-8000-00000000000a"
	otherID = "0190f0a4-0000-7000-8000-00000000000b"
	limit   = 64
)

func TestDecodeEvent(t *testing.T) {
	t.Parallel()
	id, other := uuid.MustParse(someID), uuid.MustParse(otherID)
	for name, tt := range map[string]struct {
		body string
		want EventRequest
	}{
		"smallest":             {`{"event_type":"a","payload":1}`, EventRequest{EventType: "a", Payload: []byte(`1`)}},
		"other order":          {`{"payload":{},"event_type":"a"}`, EventRequest{EventType: "a", Payload: []byte(`{}`)}},
		"space everywhere":     {" \t\r\n{ \"event_type\"\n:\t\"a\" , \"payload\" : [ 1 , 2 ]\r\n} ", EventRequest{EventType: "a", Payload: []byte(`[ 1 , 2 ]`)}},
		"no space":             {`{"event_type":"a","payload":-0.5e+10}`, EventRequest{EventType: "a", Payload: []byte(`-0.5e+10`)}},
		"null payload":         {`{"event_type":"a","payload":null}`, EventRequest{EventType: "a", Payload: []byte(`null`)}},
		"false":                {`{"event_type":"a","payload":false }`, EventRequest{EventType: "a", Payload: []byte(`false`)}},
		"string":               {`{"event_type":"a","payload":"} ] , \" \\"}`, EventRequest{EventType: "a", Payload: []byte(`"} ] , \" \\"`)}},
		"space after a number": {"{\"event_type\":\"a\",\"payload\":1\r\n}", EventRequest{EventType: "a", Payload: []byte(`1`)}},
		"nested":               {`{"event_type":"a","payload":{"a":[{"b":"]"},{"c":{}}],"payload":1},"project_id":null}`, EventRequest{EventType: "a", Payload: []byte(`{"a":[{"b":"]"},{"c":{}}],"payload":1}`)}},
		"keys twice inside":    {`{"event_type":"a","payload":{"a":1,"a":2}}`, EventRequest{EventType: "a", Payload: []byte(`{"a":1,"a":2}`)}},
		"escaped names":        {`{"event\u005ftype":"a","\u0070ayload":7}`, EventRequest{EventType: "a", Payload: []byte(`7`)}},
		"escaped type":         {`{"event_type":"\u0061.\u0062","payload":7}`, EventRequest{EventType: "a.b", Payload: []byte(`7`)}},
		"empty type":           {`{"event_type":"","payload":7}`, EventRequest{Payload: []byte(`7`)}}, // the domain refuses it
		"ids": {`{"event_type":"a","payload":7,"endpoint_id":"` + someID + `","project_id":"` + otherID + `","tenant_id":"` + strings.ToUpper(someID) + `"}`,
			EventRequest{EventType: "a", Payload: []byte(`7`), EndpointID: &id, ProjectID: &other, TenantID: &id}},
		"null ids":     {`{"event_type":"a","payload":7,"endpoint_id":null,"project_id":null,"tenant_id":null}`, EventRequest{EventType: "a", Payload: []byte(`7`)}},
		"at the limit": {`{"event_type":"a","payload":"` + strings.Repeat("x", limit-2) + `"}`, EventRequest{EventType: "a", Payload: []byte(`"` + strings.Repeat("x", limit-2) + `"`)}},
	} {
		got, err := decodeEvent([]byte(tt.body), limit)
		require.NoError(t, err, name)
		require.Equal(t, tt.want, got, name)
	}
}

func TestDecodeEventRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body, code, field string
	}{
		"empty":               {"", "invalid_json", ""},
		"only space":          {" \n", "invalid_json", ""},
		"cut":                 {`{"event_type":"a","payload":{}`, "invalid_json", ""},
		"two values":          {`{"event_type":"a","payload":1} {}`, "invalid_json", ""},
		"comma at the end":    {`{"event_type":"a","payload":1,}`, "invalid_json", ""},
		"byte order mark":     {"\ufeff{}", "invalid_json", ""},
		"not UTF-8":           {"{\"event_type\":\"a\",\"payload\":\"\xff\"}", "invalid_json", ""},
		"surrogate as UTF-8":  {"{\"event_type\":\"a\",\"payload\":\"\xed\xa0\x80\"}", "invalid_json", ""},
		"control character":   {"{\"event_type\":\"a\",\"payload\":\"\n\"}", "invalid_json", ""},
		"nested too deep":     {`{"event_type":"a","payload":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`, "invalid_json", ""},
		"array":               {`[]`, "wrong_type", ""},
		"string":              {`"event_type"`, "wrong_type", ""},
		"null":                {`null`, "wrong_type", ""},
		"empty object":        {`{}`, "missing_field", "event_type"},
		"empty object, space": {`{ }`, "missing_field", "event_type"},
		"no payload":          {`{"event_type":"a"}`, "missing_field", "payload"},
		"type twice":          {`{"event_type":"a","event_type":"a","payload":1}`, "duplicate_field", "event_type"},
		"payload twice":       {`{"event_type":"a","payload":1,"\u0070ayload":1}`, "duplicate_field", "payload"},
		"id twice":            {`{"event_type":"a","payload":1,"project_id":null,"project_id":null}`, "duplicate_field", "project_id"},
		"case of a name":      {`{"event_Type":"a","payload":1}`, "unknown_field", "event_Type"},
		"unknown":             {`{"event_type":"a","payload":1,"":1}`, "unknown_field", ""},
		"type is null":        {`{"event_type":null,"payload":1}`, "wrong_type", "event_type"},
		"type is an object":   {`{"event_type":{},"payload":1}`, "wrong_type", "event_type"},
		"id is a number":      {`{"event_type":"a","payload":1,"endpoint_id":7}`, "wrong_type", "endpoint_id"},
		"id in braces":        {`{"event_type":"a","payload":1,"endpoint_id":"{` + someID + `}"}`, "wrong_type", "endpoint_id"},
		"id as a URN":         {`{"event_type":"a","payload":1,"endpoint_id":"urn:uuid:` + someID + `"}`, "wrong_type", "endpoint_id"},
		"id without dashes":   {`{"event_type":"a","payload":1,"tenant_id":"` + strings.ReplaceAll(someID, "-", "") + `"}`, "wrong_type", "tenant_id"},
		"id is too long":      {`{"event_type":"a","payload":1,"project_id":"` + someID + `0"}`, "wrong_type", "project_id"},
		"id of 36 others":     {`{"event_type":"a","payload":1,"project_id":"` + strings.Repeat("z", 36) + `"}`, "wrong_type", "project_id"},
		"above the limit":     {`{"event_type":"a","payload":"` + strings.Repeat("x", limit-1) + `"}`, "payload_too_large", "payload"},
	} {
		_, err := decodeEvent([]byte(tt.body), limit)
		require.Equal(t, tt.code, string(fault.CodeOf(err)), "%s: %v", name, err)
		require.Equal(t, tt.field, fault.From(err).Field, name)
		require.True(t, fault.KindOf(err).CallerFault(), name)
		require.NotEmpty(t, fault.From(err).Message, name)
	}
}

func TestSyntaxErrorsSayWhere(t *testing.T) {
	t.Parallel()
	_, err := decodeEvent([]byte(`{"event_type":"a" "payload":1}`), limit)
	require.Equal(t, "The body is not valid JSON: invalid character '\"' after object key:value pair at byte 19.", fault.From(err).Message)
}

// The bytes that are stored are those that came, not a copy that could be grown into what follows.
func TestPayloadIsApartFromWhatFollows(t *testing.T) {
	t.Parallel()
	body := []byte(`{"payload":{"a":1},"event_type":"order.paid"}`)
	before := bytes.Clone(body)
	req, err := decodeEvent(body, limit)
	require.NoError(t, err)
	_ = append(req.Payload, "overwritten"...)
	require.Equal(t, before, body)
}

// reference decides with encoding/json what decodeEvent decides by hand.
func reference(body []byte, maxPayload int) (req EventRequest, ok bool) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return req, false
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return req, false
	}
	fields := map[string]json.RawMessage{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return req, false
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return req, false
		}
		if _, twice := fields[name.(string)]; twice {
			return req, false
		}
		fields[name.(string)] = raw
	}
	for name, raw := range fields {
		switch name {
		case "event_type":
			var text *string
			if json.Unmarshal(raw, &text) != nil || text == nil {
				return req, false
			}
			req.EventType = *text
		case "payload":
			req.Payload = raw
		case "endpoint_id", "project_id", "tenant_id":
			into := map[string]**uuid.UUID{"endpoint_id": &req.EndpointID, "project_id": &req.ProjectID, "tenant_id": &req.TenantID}[name]
			if bytes.ContainsRune(raw, '\\') || json.Unmarshal(raw, into) != nil || *into != nil && len(raw) != 38 {
				return req, false
			}
		default:
			return req, false
		}
	}
	return req, fields["event_type"] != nil && fields["payload"] != nil && len(req.Payload) <= maxPayload
}

func FuzzDecodeEvent(f *testing.F) {
	for _, body := range []string{
		`{"event_type":"a","payload":1}`, `{"payload":{"a":[1,"}"]} , "event_type" : "a.b"}`, `{"event_type":"\ud83d\ude00","payload":null}`, `{"event_type":"\ud800","payload":" "}`,
		`{"event_type":"a","payload":1,"endpoint_id":"` + someID + `","project_id":null,"tenant_id":"` + otherID + `"}`,
		`{}`, `[]`, ``, `{"payload":1,"payload":2}`, `{"event_type":"a","payload":"\\"}`, "{\"event_type\":\"a\",\"payload\":\"\xff\"}", `{"event_type":"a","payload":[[],{},[{}]]}`,
		`{"\u0065vent_type":"a","payload":-1.5E-7}`, `{"event_type":"a","payload":tru}`, "{\"event_type\":\"a\",\"payload\":\"\u2028\"}", `{"payload":"` + strings.Repeat("x", limit) + `","event_type":"a"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		want, ok := reference(body, limit)
		got, err := decodeEvent(body, limit)
		require.Equal(t, before, body, "it does not write")
		require.Equal(t, ok, err == nil, "%q: %v", body, err)
		if err != nil {
			require.True(t, fault.KindOf(err).CallerFault(), "%v", err)
			require.True(t, utf8.ValidString(fault.From(err).Field))
			return
		}
		require.Equal(t, want, got)
	})
}

func BenchmarkDecodeEvent(b *testing.B) {
	body := []byte(`{"event_type":"order.paid","payload":{"items":[` + strings.Repeat(`{"sku":"A-1","name":"a \"thing\"","price":12.5},`, 40) + `{}]},"project_id":"` + someID + `"}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeEvent(body, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
