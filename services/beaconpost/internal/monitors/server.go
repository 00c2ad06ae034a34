package monitors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

// hidden is how the API shows a secret. Sent back, it stands for the one that is stored.
const hidden = "***"

// document is a JSON object; its numbers are kept as they are written.
type document map[string]any

// UnmarshalJSON reads an object.
func (d *document) UnmarshalJSON(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return decoder.Decode((*map[string]any)(d))
}

func (d document) text(key string) string {
	text, _ := d[key].(string)
	return text
}

// settings gives what can be set, without what the server says beside it.
func (d document) settings() document {
	settings := d.trimmed()
	for _, key := range []string{
		"id", "status", "since", "incident_id", "last_reported_at", "certificate_ends_at", "secrets_locked", "heartbeat_url_path", "version", "created_at", "updated_at",
	} {
		delete(settings, key)
	}
	return settings
}

// trimmed leaves out null and empty lists, which are the same as nothing to the API.
func (d document) trimmed() document {
	trimmed := document{}
	for key, value := range d {
		if list, ok := value.([]any); value != nil && (!ok || len(list) > 0) {
			trimmed[key] = value
		}
	}
	return trimmed
}

// server is what is asked of the API.
type server struct{ client demo.Client }

const pageSize = "200"

// list gives all monitors, or those with a tag, in order of their names.
func (s server) list(ctx context.Context, tag string) ([]document, error) {
	query := url.Values{"limit": {pageSize}}
	if tag != "" {
		query.Set("tag", tag)
	}
	var all []document
	for {
		var page struct {
			Data       []document `json:"data"`
			NextCursor string     `json:"next_cursor"`
		}
		if err := s.client.Do(ctx, http.MethodGet, "/v1/monitors?"+query.Encode(), nil, &page); err != nil {
			return nil, fmt.Errorf("list monitors: %w", err)
		}
		all = append(all, page.Data...)
		if page.NextCursor == "" {
			break
		}
		query.Set("cursor", page.NextCursor)
	}
	slices.SortFunc(all, func(a, b document) int { return strings.Compare(a.text("name"), b.text("name")) })
	return all, nil
}

// preview is what the server would make of a body: its settings with all defaults, secrets hidden.
type preview struct {
	Monitor document `json:"monitor"`
	// SecretsChanged says whether they differ from those stored; nil: not known.
	SecretsChanged *bool `json:"secrets_changed"`
}

// preview asks what would become of the monitor with an id, or of a new one. It is nil if the server has no previews. They have a path of
// their own: a server that does not know of a parameter ?dry_run would do what it is asked for.
func (s server) preview(ctx context.Context, id string, body document) (*preview, error) {
	path := "/v1/monitors/preview"
	if id != "" {
		path += "?id=" + url.QueryEscape(id)
	}
	var seen preview
	err := s.client.Do(ctx, http.MethodPost, path, body, &seen)
	if p, ok := errors.AsType[*demo.Problem](err); ok && (p.Status == http.StatusNotFound || p.Status == http.StatusMethodNotAllowed) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, err
	}
	return &seen, nil
}

func (s server) create(ctx context.Context, body document) error {
	return s.client.Do(ctx, http.MethodPost, "/v1/monitors", body, nil)
}

// replace gives the monitor as it is now.
func (s server) replace(ctx context.Context, id string, body document) (document, error) {
	var after document
	err := s.client.Do(ctx, http.MethodPut, "/v1/monitors/"+url.PathEscape(id), body, &after)
	return after, err
}

// remove may find it gone.
func (s server) remove(ctx context.Context, id string) error {
	err := s.client.Do(ctx, http.MethodDelete, "/v1/monitors/"+url.PathEscape(id), nil, nil)
	if p, ok := errors.AsType[*demo.Problem](err); ok && p.Status == http.StatusNotFound {
		return nil
	}
	return err
}
