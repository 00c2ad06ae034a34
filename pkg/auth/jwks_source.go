package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	maxJWKSBytes = 1 << 20
	loadTimeout  = 5 * time.Second
	fileInterval = 3 * time.Second
)

// errUnchanged says that a source holds what it held the last time.
var errUnchanged = errors.New("jwks are unchanged")

// source is where a JWKS comes from. It is used by one goroutine at a time.
type source interface {
	// load gives the text of the JWKS, or errUnchanged.
	load(ctx context.Context) ([]byte, error)
}

// sourceOf gives the source that cfg names, and how often it is looked at: regularly, and at most.
func sourceOf(cfg JWTConfig) (src source, every, atMost time.Duration, err error) {
	if !strings.Contains(cfg.JWKS, "://") {
		return &fileSource{path: cfg.JWKS}, fileInterval, orDefault(cfg.MinRefreshInterval, time.Second), nil
	}
	u, err := url.Parse(cfg.JWKS)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, 0, 0, errors.New("JWKS is neither an http(s) URL nor the path of a file")
	}
	return &urlSource{url: cfg.JWKS, client: cfg.Client}, cfg.RefreshInterval, orDefault(cfg.MinRefreshInterval, 10*time.Second), nil
}

// urlSource fetches over HTTP.
type urlSource struct {
	url    string
	client *http.Client
}

func (s *urlSource) load(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("fetch jwks: %w", err)
	}
	resp, err := s.client.Do(req)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // without the URL, which may have a key in it
	}
	if err != nil {
		return nil, fmt.Errorf("fetch jwks from %s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch jwks: %s answered %s", req.URL.Host, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKSBytes+1))
	if err != nil {
		return nil, fmt.Errorf("fetch jwks: %w", err)
	}
	if len(text) > maxJWKSBytes {
		return nil, fmt.Errorf("fetch jwks: answer is longer than %d bytes", maxJWKSBytes)
	}
	return text, nil
}

// fileSource reads a file when its time or size has changed.
type fileSource struct {
	path    string
	changed time.Time
	size    int64
}

func (s *fileSource) load(context.Context) ([]byte, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("read jwks: %w", err)
	}
	if info.ModTime().Equal(s.changed) && info.Size() == s.size {
		return nil, errUnchanged
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return nil, fmt.Errorf("read jwks: %w", err)
	}
	s.changed, s.size = info.ModTime(), info.Size()
	return text, nil
}
