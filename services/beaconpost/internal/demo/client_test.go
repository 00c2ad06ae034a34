package demo

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"
)

func TestDo(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"`+r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Content-Type")+`","size":`+string(body)+`}`)
	}))
	t.Cleanup(server.Close)
	client := Client{URL: server.URL, APIKey: "bp_1"}
	var got struct {
		ID   string `json:"id"`
		Size int    `json:"size"`
	}
	require.NoError(t, client.Do(t.Context(), http.MethodPost, "/v1/x?limit=1", []byte(" 7 "), &got))
	require.Equal(t, "POST /v1/x?limit=1 Bearer bp_1 application/json", got.ID)
	require.Equal(t, 7, got.Size)
	require.NoError(t, client.Do(t.Context(), http.MethodPost, "/v1/x", 8, &got))
	require.Equal(t, 8, got.Size)
	require.NoError(t, client.Do(t.Context(), http.MethodGet, "/v1/x", nil, nil))
	require.ErrorContains(t, client.Do(t.Context(), http.MethodGet, "/v1/x", nil, &got), "decode answer to GET /v1/x")
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		header http.Header
		body   string
		want   Problem
		text   string
	}{
		"problem": {
			422, nil, `{"type":"about:blank","title":"x","status":422,"code":"invalid_event_type","detail":"Expected a dotted name.","field":"event_type"}`,
			Problem{Status: 422, Code: "invalid_event_type", Detail: "Expected a dotted name.", Field: "event_type", RetryAfter: -1},
			"invalid_event_type: event_type: Expected a dotted name. (HTTP 422 Unprocessable Entity)",
		},
		"several": {
			422, nil, `{"code":"invalid","detail":"Two problems.","errors":[{"field":"url","detail":"is missing"},{"field":"","detail":"is odd"}]}`,
			Problem{Status: 422, Code: "invalid", Detail: "Two problems.", Errors: []FieldError{{"url", "is missing"}, {"", "is odd"}}, RetryAfter: -1},
			"invalid: Two problems. (HTTP 422 Unprocessable Entity)\n  url: is missing\n  is odd",
		},
		"wait": {
			503, http.Header{"Retry-After": {"2"}}, `{"code":"unavailable"}`,
			Problem{Status: 503, Code: "unavailable", RetryAfter: 2 * time.Second},
			"unavailable (HTTP 503 Service Unavailable)",
		},
		"a proxy's page": {
			502, nil, "<html>\x1b[31m\n bad  gateway" + strings.Repeat("x", 400),
			Problem{Status: 502, Detail: "<html> [31m bad gateway" + strings.Repeat("x", 275) + " …", RetryAfter: -1},
			"<html> [31m bad gateway" + strings.Repeat("x", 275) + " … (HTTP 502 Bad Gateway)",
		},
		"redirect": {
			302, http.Header{"Location": {"https://elsewhere.test/"}}, "",
			Problem{Status: 302, Detail: "redirects are not followed; it points to https://elsewhere.test/", RetryAfter: -1},
			"redirects are not followed; it points to https://elsewhere.test/ (HTTP 302 Found)",
		},
		"nothing": {599, nil, "", Problem{Status: 599, RetryAfter: -1}, "HTTP 599"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tt.header {
					w.Header()[k] = v
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			t.Cleanup(server.Close)
			err := Client{URL: server.URL}.Do(t.Context(), http.MethodGet, "/", nil, nil)
			var problem *Problem
			require.ErrorAs(t, err, &problem)
			require.Equal(t, tt.want, *problem)
			require.Equal(t, tt.text, err.Error())
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	err := Client{URL: server.URL}.Do(t.Context(), http.MethodGet, "/", nil, nil)
	require.ErrorContains(t, err, "is `beaconpost up` running?")
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": -1, "0": 0, "30": 30 * time.Second, "-1": -1, "1.5": -1, "soon": -1, "99999999999999999999": -1,
		"Sun, 01 Mar 2026 12:00:10 GMT": 10 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": 0,
	} {
		require.Equal(t, want, retryAfter(header, now), header)
	}
}

// connect runs a command with args and gives what Connect makes of them.
func connect(t *testing.T, args ...string) (client Client, err error) {
	t.Helper()
	cmd := &cli.Command{Name: "x", Flags: Flags(), Action: func(_ context.Context, cmd *cli.Command) error {
		client, err = Connect(cmd)
		return nil
	}}
	require.NoError(t, cmd.Run(t.Context(), append([]string{"x"}, args...)))
	return client, err
}

func TestConnectPrecedence(t *testing.T) { // sets the environment
	dir := t.TempDir()
	require.NoError(t, Write(dir, File{URL: "http://127.0.0.1:8080", APIKey: "bp_demo"}))
	for _, tt := range []struct {
		name           string
		envURL, envKey string
		args           []string
		want           Client
	}{
		{"demo file", "", "", nil, Client{URL: "http://127.0.0.1:8080", APIKey: "bp_demo"}},
		{"environment", "http://env.test/", "bp_env", nil, Client{URL: "http://env.test", APIKey: "bp_env"}},
		{"flags", "http://env.test", "bp_env", []string{"--url", "http://flag.test", "--api-key", "bp_flag"}, Client{URL: "http://flag.test", APIKey: "bp_flag"}},
		{"each for itself", "", "bp_env", nil, Client{URL: "http://127.0.0.1:8080", APIKey: "bp_env"}},
		{"key for another port", "http://localhost:9000", "", nil, Client{URL: "http://localhost:9000", APIKey: "bp_demo"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("BEACONPOST_URL", tt.envURL)
			t.Setenv("BEACONPOST_API_KEY", tt.envKey)
			got, err := connect(t, append(tt.args, "--data-dir", dir)...)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func TestConnectErrors(t *testing.T) { // sets the environment
	t.Setenv("BEACONPOST_URL", "")
	t.Setenv("BEACONPOST_API_KEY", "")
	dir := t.TempDir()
	_, err := connect(t, "--data-dir", dir)
	require.ErrorContains(t, err, "--url and --api-key")
	require.ErrorContains(t, err, "is `beaconpost up` running with this data directory?")

	require.NoError(t, Write(dir, File{URL: "http://127.0.0.1:8080", APIKey: "bp_demo"}))
	_, err = connect(t, "--data-dir", dir, "--url", "https://api.example.com")
	require.ErrorContains(t, err, "give --api-key for https://api.example.com")
	require.NotContains(t, err.Error(), "bp_demo")

	for _, url := range []string{"127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://127.0.0.1/?x=1", "http://user:pw@127.0.0.1"} {
		_, err = connect(t, "--data-dir", dir, "--url", url, "--api-key", "bp_1")
		require.ErrorContains(t, err, "--url: expected", url)
	}
}
