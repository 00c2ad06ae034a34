package httpapi

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// mergePatch is a JSON object that is merged into another (RFC 7396).
type mergePatch map[string]any

// Schema describes the type in OpenAPI.
func (mergePatch) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "A merge patch (RFC 7396) of the body of PUT: what is absent stays, null removes (and brings the default back), objects are merged, lists replaced.",
	}
}

// merge gives target with the patch applied, and changes neither.
func merge(target, patch map[string]any) map[string]any {
	merged := maps.Clone(target)
	if merged == nil {
		merged = map[string]any{}
	}
	for name, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(merged, name)
		case map[string]any:
			inner, _ := merged[name].(map[string]any) // what is no object is replaced by one
			merged[name] = merge(inner, value)
		default:
			merged[name] = value
		}
	}
	return merged
}

// patched gives a monitor's settings with the patch applied. Their form is judged as that of a whole body is.
func patched(m *monitor.Monitor, p mergePatch) (s MonitorSettings, err error) {
	text, err := json.Marshal(settingsOf(m))
	if err != nil {
		return s, err
	}
	var stored map[string]any
	if err := json.Unmarshal(text, &stored); err != nil {
		return s, err
	}
	merged := merge(stored, p)
	if err := checkForm(merged); err != nil {
		return s, err
	}
	if text, err = json.Marshal(merged); err != nil {
		return s, err
	}
	err = json.Unmarshal(text, &s)
	return s, err
}

// checkForm says whether a document has the form of MonitorSettings: the same rules, by the same code, as for the bodies of POST and PUT.
func checkForm(document map[string]any) error {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[MonitorSettings](), true, "MonitorSettings")
	var result huma.ValidateResult
	huma.Validate(registry, schema, huma.NewPathBuffer([]byte(""), 0), huma.ModeWriteToServer, document, &result)
	var p problems
	for _, err := range result.Errors {
		var detail *huma.ErrorDetail
		if !errors.As(err, &detail) {
			p.found(err, "")
			continue
		}
		field := strings.NewReplacer("[", ".", "]", "").Replace(detail.Location)
		if name, ok := strings.CutPrefix(detail.Message, "expected required property "); ok {
			name, _, _ = strings.Cut(name, " ")
			field = strings.TrimPrefix(field+"."+name, ".")
		}
		p.require(false, field, "%s", detail.Message)
	}
	return p.fault("invalid_request") // as for POST and PUT
}
