package monitor

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	monitorhttp "github.com/beaconpost/beaconpost/services/monitor/internal/httpapi"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/mail"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	monitorpg "github.com/beaconpost/beaconpost/services/monitor/internal/postgres"
	"github.com/beaconpost/beaconpost/services/monitor/internal/probe"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// register adds the routes of the API.
func (p *parts) register(api *httpapi.API, notify *notifier) {
	handlers := &monitorhttp.Handlers{
		Store: monitorpg.NewTenancy(p.platform.DB, p.cfg.SecretsKeys), Runner: runner{p, monitor.NewRoom(runsAtOnce)}, Tester: &tester{notifier: notify, last: map[tenant.ID]time.Time{}}, Beats: beats{p.store}, CheckAssertion: probe.CheckAssertion,
		Kept: ledger.Kept{Fives: p.cfg.Monitor.FiveRetention, Hours: p.cfg.Monitor.HourRetention},
	}
	handlers.Register(api)
}

const (
	runsAtOnce = 32               // checks that somebody asked for, beside those of the schedule
	testsEvery = 10 * time.Second // a tenant's tests of channels: it chooses who gets them
)

// runner makes checks that somebody asks for.
type runner struct {
	*parts
	room *monitor.Room
}

var _ monitorhttp.Runner = runner{}

// CheckNow implements monitorhttp.Runner.
func (r runner) CheckNow(ctx context.Context, t tenant.ID, m *monitor.Monitor) check.Result {
	if !r.room.Take(t) {
		return check.Result{Outcome: check.NotChecked, Cause: check.CauseOverload, Detail: "Too many checks are being made by hand.", StartedAt: time.Now()}
	}
	defer r.room.Give(t)
	return traced{r.prober, r.platform.Telemetry.Tracer}.Check(ctx, &check.Job{Monitor: m.ID, Spec: &m.Spec, Version: m.Version, Timeout: m.Timeout, Degraded: m.Degraded})
}

type tester struct {
	*notifier
	mu   sync.Mutex
	last map[tenant.ID]time.Time
}

var _ monitorhttp.ChannelTester = (*tester)(nil)

// mayTest says whether it is time for another test of a tenant's.
func (t *tester) mayTest(of tenant.ID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.last, func(_ tenant.ID, at time.Time) bool { return now.Sub(at) >= testsEvery })
	if _, recently := t.last[of]; recently {
		return false
	}
	t.last[of] = now
	return true
}

// TestChannel implements monitorhttp.ChannelTester.
func (t *tester) TestChannel(ctx context.Context, of tenant.ID, c alert.Channel) error {
	if !t.mayTest(of, time.Now()) {
		return fault.TooManyRequests("too_many_channel_tests", testsEvery, "A channel was tested a moment ago. Nothing was sent.")
	}
	err := t.test(ctx, c)
	switch {
	case err == nil:
		return nil
	case t.sender == nil:
		return fault.Conflict("mail_not_configured", "This installation has no mail relay: channels of kind email do not work.")
	case mail.Temporary(err):
		return fault.Unavailable(err, time.Minute, "The mail relay did not take the message: "+problemOf(err))
	}
	return fault.Invalid("channel_refused", "email.to", "The mail relay refused the message: "+problemOf(err))
}

// beats takes the calls of heartbeats.
type beats struct{ store *monitorpg.Store }

var _ monitorhttp.Beats = beats{}

// Beat implements monitorhttp.Beats.
func (b beats) Beat(ctx context.Context, token, kind string, body []byte) error {
	if kind == "log" {
		return b.store.Log(ctx, token, string(body))
	}
	beat := verdict.Beat{Kind: verdict.BeatKind(kind)}
	if code, err := strconv.Atoi(kind); err == nil {
		beat = verdict.Beat{Kind: verdict.BeatExit, ExitCode: code}
	}
	return b.store.Beat(ctx, token, beat, string(body))
}
