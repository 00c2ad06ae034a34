package probe

import (
	"container/list"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"cel.dev/cel-go/cel"
	"github.com/google/uuid"
	"github.com/theory/jsonpath"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// plan is a spec with all that is compiled of it. It is not changed after it was made.
type plan struct {
	statuses     []statusRange
	headers      []condition
	body         []condition
	json         []jsonCondition
	expect       *check.Pattern // nil: nothing
	assertion    cel.Program    // nil: none
	roots        *x509.CertPool
	certificates []tls.Certificate
	serverName   string
	insecure     bool
	rootsAnyway  bool     // the installation's authorities are accepted beside roots
	proxy        *url.URL // nil: none
	wholeBody    bool     // something looks at all of it
}

type statusRange struct{ first, last int }

type condition struct {
	*check.Match
	pattern *check.Pattern // nil unless Matches is set
}

type jsonCondition struct {
	*check.JSONMatch
	path   *jsonpath.Path
	equals any // as encoding/json gives it; nil: none
}

// plans keeps the plans of the monitors that were checked last.
type plans struct {
	most int

	mu     sync.Mutex
	of     map[uuid.UUID]*list.Element
	recent *list.List // of keptPlan, the last used first
}

type keptPlan struct {
	monitor uuid.UUID
	version int64
	plan    *plan
}

func newPlans(most int) *plans {
	return &plans{most: most, of: make(map[uuid.UUID]*list.Element), recent: list.New()}
}

func (c *plans) get(monitor uuid.UUID, version int64) *plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.of[monitor]
	if !ok {
		return nil
	}
	kept, _ := element.Value.(*keptPlan) // put puts nothing else there
	if kept.version != version {
		return nil
	}
	c.recent.MoveToFront(element)
	return kept.plan
}

func (c *plans) put(monitor uuid.UUID, version int64, made *plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.of[monitor]; ok {
		c.recent.Remove(old)
	}
	c.of[monitor] = c.recent.PushFront(&keptPlan{monitor, version, made})
	if c.recent.Len() > c.most {
		last := c.recent.Back()
		kept, _ := c.recent.Remove(last).(*keptPlan)
		delete(c.of, kept.monitor)
	}
}

// planFor gives the plan of a job. One without a monitor, such as a trial, is not kept.
func (p *Prober) planFor(job *check.Job) (*plan, error) {
	if made := p.plans.get(job.Monitor, job.Version); made != nil {
		return made, nil
	}
	made, err := p.newPlan(job.Spec)
	if err == nil && job.Monitor != uuid.Nil {
		p.plans.put(job.Monitor, job.Version, made)
	}
	return made, err
}

func (p *Prober) newPlan(spec *check.Spec) (*plan, error) {
	made := &plan{roots: p.cfg.RootCAs}
	for _, compile := range []func(*check.Spec) error{made.compileTLS, made.compileProxy, made.compileStatuses, made.compileMatches, made.compileJSON, made.compileExpect} {
		if err := compile(spec); err != nil {
			return nil, err
		}
	}
	var err error
	if spec.Assert != "" {
		made.assertion, err = compileAssertion(p.env, spec.Assert)
	}
	made.wholeBody = len(made.body)+len(made.json) > 0 || spec.Assert != ""
	return made, err
}

func (m *plan) compileTLS(spec *check.Spec) error {
	roots, err := spec.TLS.Roots()
	if err != nil {
		return fmt.Errorf("tls.ca %w", err)
	}
	if roots != nil {
		m.roots = roots
	}
	if m.certificates, err = spec.TLS.Certificates(); err != nil {
		return fmt.Errorf("tls.client_certificate %w", err)
	}
	if spec.TLS != nil {
		m.serverName, m.insecure = spec.TLS.ServerName, spec.TLS.InsecureSkipVerify
	}
	return nil
}

func (m *plan) compileProxy(spec *check.Spec) (err error) {
	if spec.Proxy == "" {
		return nil
	}
	if m.proxy, err = url.Parse(spec.Proxy); err != nil {
		return errors.New("proxy is not a URL") // the error has the password
	}
	return nil
}

func (m *plan) compileStatuses(spec *check.Spec) error {
	for _, text := range spec.StatusCodes {
		first, last, err := check.ParseStatus(text)
		if err != nil {
			return fmt.Errorf("status_codes: %q %w", text, err)
		}
		m.statuses = append(m.statuses, statusRange{first, last})
	}
	if len(m.statuses) == 0 {
		m.statuses = []statusRange{{200, 299}}
	}
	return nil
}

func (m *plan) compileMatches(spec *check.Spec) (err error) {
	if m.headers, err = conditions(spec.ExpectHeaders); err != nil {
		return fmt.Errorf("expect_headers: %w", err)
	}
	if m.body, err = conditions(spec.ExpectBody); err != nil {
		return fmt.Errorf("expect_body: %w", err)
	}
	return nil
}

func conditions(matches []check.Match) ([]condition, error) {
	made := make([]condition, len(matches))
	for i := range matches {
		made[i].Match = &matches[i]
		if matches[i].Matches == "" {
			continue
		}
		var err error
		if made[i].pattern, err = check.CompilePattern(matches[i].Matches); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (m *plan) compileJSON(spec *check.Spec) error {
	for i := range spec.ExpectJSON {
		match := &spec.ExpectJSON[i]
		path, err := check.CompilePath(match.Path)
		if err != nil {
			return fmt.Errorf("expect_json: %w", err)
		}
		equals, err := normal(match.Equals)
		if err != nil {
			return fmt.Errorf("expect_json: %w", err)
		}
		m.json = append(m.json, jsonCondition{match, path, equals})
	}
	return nil
}

func (m *plan) compileExpect(spec *check.Spec) (err error) {
	if spec.Expect != "" {
		m.expect, err = check.CompilePattern(spec.Expect)
	}
	return err
}
