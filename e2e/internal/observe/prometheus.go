// Package observe is what an operator watches with: a real Prometheus with the repository's alert rules, and the repository's dashboards and runbooks, as far
// as they can be asked and compared. The end-to-end tests and the game day stand on it.
//
// It owns the server and its configuration. It knows neither what is scraped nor what it should show.
package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

const (
	startLimit = 30 * time.Second
	askLimit   = 30 * time.Second
)

// Program finds one of Prometheus' programs: on PATH, or where scripts/deps.sh has put them. root is the repository.
func Program(root, name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join(root, "bin/tools/prometheus/usr/bin", name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no %s: make deps-test brings it: %w", name, err)
	}
	return path, nil
}

// Job is what is scraped under a name.
type Job struct {
	Name    string
	Path    string // "" for /metrics
	Token   string // a bearer token, "" for none
	Targets []string
}

// Config describes a server.
type Config struct {
	Dir      string // for its data, log and configuration
	Program  string
	Rules    string        // file of alert rules; "" for none
	Interval time.Duration // of scrapes and evaluations
	Features []string
	Jobs     []Job
}

// Server is a running Prometheus.
type Server struct {
	URL     string
	process *stack.Process
}

// Start starts a server and waits until it answers. Stop it.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	port, err := stack.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	text, err := cfg.text()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	args := []string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address}
	if len(cfg.Features) > 0 {
		args = append(args, "--enable-feature="+strings.Join(cfg.Features, ","))
	}
	process, err := stack.Spawn("prometheus", filepath.Join(dir, "prometheus.log"), cfg.Program, os.Environ(), args...)
	if err != nil {
		return nil, err
	}
	s := &Server{"http://" + address, process}
	for deadline := time.Now().Add(startLimit); ; {
		if _, err = stack.Get(ctx, s.URL+"/-/ready"); err == nil {
			return s, nil
		}
		if time.Now().After(deadline) || !lifecycle.Wait(ctx, 100*time.Millisecond) {
			process.Kill()
			return nil, fmt.Errorf("Prometheus is not ready: %w", err) //nolint:staticcheck // a name
		}
	}
}

// text is the configuration: JSON, which is YAML too.
func (cfg Config) text() ([]byte, error) {
	type object = map[string]any
	jobs := make([]object, 0, len(cfg.Jobs))
	for _, job := range cfg.Jobs {
		one := object{"job_name": job.Name, "static_configs": []object{{"targets": job.Targets}}}
		if job.Path != "" {
			one["metrics_path"] = job.Path
		}
		if job.Token != "" {
			one["authorization"] = object{"credentials": job.Token}
		}
		jobs = append(jobs, one)
	}
	rules := []string{}
	if cfg.Rules != "" {
		path, err := filepath.Abs(cfg.Rules)
		if err != nil {
			return nil, err
		}
		rules = append(rules, path)
	}
	interval := cfg.Interval.String()
	return json.Marshal(object{"global": object{"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}, "rule_files": rules, "scrape_configs": jobs})
}

// Stop ends the server; what it recorded stays.
func (s *Server) Stop() error { return s.process.Terminate() }

// Series is a series by its labels, and what it was.
type Series struct {
	Labels  map[string]string
	Samples []Sample
}

// Sample is a value and when.
type Sample struct {
	At    time.Time
	Value float64
}

// Query asks for what is now.
func (s *Server) Query(ctx context.Context, expr string) ([]Series, error) {
	return s.ask(ctx, "query", url.Values{"query": {expr}})
}

// Range asks for what was.
func (s *Server) Range(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	seconds := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	return s.ask(ctx, "query_range", url.Values{"query": {expr}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {step.String()}})
}

func (s *Server) ask(ctx context.Context, what string, values url.Values) ([]Series, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/"+what+"?"+values.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  point
				Values []point
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", values.Get("query"), err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", values.Get("query"), answer.Error)
	}
	list := make([]Series, 0, len(answer.Data.Result))
	for _, result := range answer.Data.Result {
		one := Series{Labels: result.Metric}
		for _, p := range append(result.Values, result.Value) {
			if !p.At.IsZero() {
				one.Samples = append(one.Samples, Sample(p))
			}
		}
		list = append(list, one)
	}
	return list, nil
}

// point is a sample as the API writes it: [seconds, "value"]. Of a native histogram there is none.
type point Sample

// UnmarshalJSON implements json.Unmarshaler.
func (p *point) UnmarshalJSON(raw []byte) error {
	var seconds float64
	var text string
	if err := json.Unmarshal(raw, &[]any{&seconds, &text}); err != nil {
		return err
	}
	value, err := strconv.ParseFloat(text, 64)
	p.At, p.Value = time.UnixMilli(int64(seconds*1000)), value
	return err
}
