package monitor

import (
	"context"
	"strconv"
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
		Store: monitorpg.NewTenancy(p.platform.DB, p.cfg.SecretsKeys), Runner: runner{p}, Tester: tester{notify}, Beats: beats{p.store}, CheckAssertion: probe.CheckAssertion,
		Kept: ledger.Kept{Fives: p.cfg.Monitor.FiveRetention, Hours: p.cfg.Monitor.HourRetention},
	}
	handlers.Register(api)
}

// runner makes checks that somebody asks for.
type runner struct{ *parts }

var _ monitorhttp.Runner = runner{}

// CheckNow implements monitorhttp.Runner.
func (r runner) CheckNow(ctx context.Context, _ tenant.ID, m *monitor.Monitor) check.Result {
	return r.prober.Check(ctx, &check.Job{Monitor: m.ID, Spec: &m.Spec, Version: m.Version, Timeout: m.Timeout, Degraded: m.Degraded})
}

type tester struct{ *notifier }

var _ monitorhttp.ChannelTester = tester{}

// TestChannel implements monitorhttp.ChannelTester.
func (t tester) TestChannel(ctx context.Context, _ tenant.ID, c alert.Channel) error {
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
