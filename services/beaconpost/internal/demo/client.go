package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 4 << 20
)

// Client calls the public API. It follows no redirects (a POST would become a GET). It is safe for concurrent use; the zero HTTP is a
// client on Go's shared transport.
type Client struct {
	URL    string // without a path and a slash at the end
	APIKey string // or a JWT
	HTTP   http.RoundTripper
}

// Request is one call. A Body of []byte is sent as it is, nil sends none, anything else is marshalled as JSON.
type Request struct {
	Method string
	Path   string // with the query
	Header http.Header
	Body   any
}

// Do makes a call and decodes a 2xx answer's body into into, unless that is nil. Every other answer is a *Problem.
func (c Client) Do(ctx context.Context, method, path string, body, into any) error {
	return c.Call(ctx, Request{Method: method, Path: path, Body: body}, into)
}

// Call is Do with headers. It takes at most 30 seconds.
func (c Client) Call(ctx context.Context, r Request, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := c.request(ctx, r)
	if err != nil {
		return fmt.Errorf("build request: %w", err)
	}
	resp, err := c.client().Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("call Beaconpost (is `beaconpost up` running?): %w", err)
	}
	if err != nil {
		return fmt.Errorf("call Beaconpost: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("longer than %d bytes", maxAnswer)
	}
	if err != nil {
		return fmt.Errorf("read answer to %s %s: %w", r.Method, r.Path, err)
	}
	return decode(resp, body, into)
}

func decode(resp *http.Response, body []byte, into any) error {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return newProblem(resp, body)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decode answer to %s %s: %w", resp.Request.Method, resp.Request.URL.Path, err)
	}
	return nil
}

func (c Client) request(ctx context.Context, r Request) (*http.Request, error) {
	body, err := encode(r.Body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.URL+r.Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if r.Header != nil {
		req.Header = r.Header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+c.APIKey)
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func encode(body any) ([]byte, error) {
	switch body := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return body, nil
	}
	return json.Marshal(body)
}

func (c Client) client() *http.Client {
	return &http.Client{
		Transport:     c.HTTP,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
