package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

// Beats takes the calls of heartbeats' URLs.
type Beats interface {
	// Beat takes one: kind is start, success, fail, log or an exit code ("0" to "255"), body what came with it, at most 8 kB. A token that no heartbeat has
	// is a fault of kind not found.
	Beat(ctx context.Context, token, kind string, body []byte) error
}

const (
	heartbeatPath = "/v1/heartbeats/"
	beatBodyMost  = 8 << 10
)

func (h *Handlers) registerHeartbeats(api *httpapi.API) {
	const doc = "Needs no credential: whoever knows the token may report. GET, HEAD and POST mean the same; POST may carry up to 8 kB of text, such as the end of a log, of any content type."
	route := func(method, path, id, summary string) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, ID: id, Summary: summary, Tag: "heartbeats", Public: true, Doc: doc}
	}
	const plain, precise = heartbeatPath + "{token}", heartbeatPath + "{token}/{kind}"
	const ended, happened = "Report that a job succeeded", "Report what a job did: start, success, fail, log or its exit code (0 to 255)"
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		name := map[string]string{http.MethodGet: "get", http.MethodHead: "head"}[method]
		httpapi.Register(api, route(method, plain, name+"-heartbeat", ended), h.called)
		httpapi.Register(api, route(method, precise, name+"-heartbeat-kind", happened), h.calledWithKind)
	}
	httpapi.RegisterRaw[string, beatView](api, route(http.MethodPost, plain, "post-heartbeat", ended), h.beat)
	httpapi.RegisterRaw[string, beatView](api, route(http.MethodPost, precise, "post-heartbeat-kind", happened), h.beat)
}

type (
	beatView struct {
		OK bool `json:"ok" doc:"It is recorded."`
	}
	beatInput struct {
		Token string `path:"token"`
	}
	beatKindInput struct {
		Token string `path:"token"`
		Kind  string `path:"kind"`
	}
	beatOutput struct{ Body beatView }
)

func (h *Handlers) called(ctx context.Context, in *beatInput) (*beatOutput, error) {
	return h.calledWithKind(ctx, &beatKindInput{in.Token, ""})
}

func (h *Handlers) calledWithKind(ctx context.Context, in *beatKindInput) (*beatOutput, error) {
	return &beatOutput{beatView{true}}, h.take(ctx, in.Token, in.Kind, nil)
}

// beat takes a call with a body, which may be anything.
func (h *Handlers) beat(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, beatBodyMost))
	if err != nil {
		httpapi.WriteError(w, r, unread(err))
		return
	}
	if err := h.take(r.Context(), chi.URLParam(r, "token"), chi.URLParam(r, "kind"), body); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"ok":true}` + "\n")) // the caller is gone: nobody to tell
}

func unread(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fault.TooLarge("body_too_large", "", "Expected at most 8192 bytes.")
	}
	return fault.Malformed("unreadable_body", "", "The body could not be read.", err)
}

func (h *Handlers) take(ctx context.Context, token, kind string, body []byte) error {
	if kind == "" {
		kind = "success"
	}
	if !isBeat(kind) {
		return fault.NotFound("unknown_heartbeat_call", "Expected start, success, fail, log or an exit code from 0 to 255 behind the token.")
	}
	return h.Beats.Beat(ctx, token, kind, body)
}

func isBeat(kind string) bool {
	code, err := strconv.ParseUint(kind, 10, 8)
	return err == nil && strconv.FormatUint(code, 10) == kind || slices.Contains([]string{"start", "success", "fail", "log"}, kind)
}
