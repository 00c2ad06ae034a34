package probe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const day = 24 * time.Hour

// look is one check in the making.
type look struct {
	p       *Prober
	job     *check.Job
	plan    *plan
	started time.Time
	clock   clock
	saw     sight
	token   string // of OAuth 2.0; "": none was needed, or is there yet
	kept    bool   // token is of an earlier check
}

// sight is what a check has seen so far.
type sight struct {
	status     int
	ip         string
	ips        []netip.Addr
	hops       []check.Hop
	downgraded bool // a redirect led from https to http
	chain      []*x509.Certificate
	certEnds   time.Time
	// identityAsked: the target wanted a client certificate. It says what it thinks of ours after the handshake, when a reset may overtake it.
	identityAsked bool
	header        http.Header
	body          []byte // what was read; without a condition on it, only what evidence keeps
	truncated     bool
	document      document
	answers       []string // of DNS
	loss          int      // of ICMP, percent
}

// judge makes the result of what was seen and of the error, if any, that ended the check.
func (l *look) judge(err error) check.Result {
	at, phases := l.clock.stop()
	result := check.Result{
		Outcome: check.Up, StartedAt: l.started, Duration: time.Since(l.started), Phases: phases,
		Status: l.saw.status, IP: l.saw.ip, CertEnds: l.saw.certEnds,
	}
	if err != nil {
		result.Outcome, result.Cause, result.Detail = classify(at, err)
		if result.Cause == check.CauseReset && l.saw.identityAsked && l.saw.status == 0 && len(l.saw.body) == 0 {
			result.Cause, result.Detail = check.CauseTLS, "The target asked for a client certificate, and then closed the connection."
		}
	} else {
		l.degrade(&result)
	}
	if result.Outcome == check.NotChecked {
		l.p.cfg.Trouble("make a check", fmt.Errorf("monitor %s: %w", l.job.Monitor, err))
	}
	if l.job.Spec.Invert && !isHindrance(err) {
		invert(&result)
	}
	if result.Outcome != check.Up {
		result.Evidence = l.evidence(err)
	}
	return result
}

// degrade looks at what makes a good answer less than good. The certificate comes first: it stays, where slowness comes and goes.
func (l *look) degrade(result *check.Result) {
	days := l.job.Spec.CertificateDays
	ends := l.saw.certEnds
	switch {
	case days > 0 && !ends.IsZero() && ends.Before(l.started.Add(time.Duration(days)*day)):
		result.Outcome, result.Cause = check.Degraded, check.CauseCertificateEnding
		result.Detail = fmt.Sprintf("The certificate ends at %s.", ends.UTC().Format(time.RFC3339))
	case l.job.Degraded > 0 && result.Duration > l.job.Degraded:
		result.Outcome, result.Cause = check.Degraded, check.CauseSlow
		result.Detail = fmt.Sprintf("The check took %s.", result.Duration.Round(time.Millisecond))
	case l.saw.downgraded:
		result.Detail = "A redirect led from https to http."
	}
}

// invert turns up and down round. A target that we do not look at is neither.
func invert(result *check.Result) {
	switch {
	case result.Outcome == check.NotChecked || result.Cause == check.CauseBlockedAddress:
	case result.Outcome == check.Down:
		result.Outcome, result.Cause, result.Detail = check.Up, "", ""
	default:
		result.Outcome, result.Cause, result.Detail = check.Down, check.CauseInverted, "It was expected to fail, and did not."
	}
}

// expectation gives what of an error says how it should have been.
func expectation(err error) (expected, got string) {
	if wrong, ok := errors.AsType[*unmet](err); ok {
		return wrong.expected, wrong.got
	}
	return "", ""
}
