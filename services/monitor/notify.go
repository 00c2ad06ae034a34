package monitor

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/mail"
	monitorpg "github.com/beaconpost/beaconpost/services/monitor/internal/postgres"
)

const (
	alertEvery  = 500 * time.Millisecond
	sendEvery   = time.Second
	giveUpEvery = time.Minute
	settleTries = 3
	settlePause = time.Second
	settleMost  = 10 * time.Second
)

// notifier sends what alert policies decide on. Any number of replicas may run one.
type notifier struct {
	store   *monitorpg.Store
	sender  *mail.Sender // nil: no relay is configured
	trouble func(doing string, err error)
	jobs    *telemetry.Jobs
	tracer  *telemetry.Tracer

	sent  *prometheus.CounterVec
	delay prometheus.Histogram
}

var errNoRelay = errors.New("no mail relay is configured (BEACONPOST_SMTP_HOST)")

func notifierMetrics(m *telemetry.Metrics) (sent *prometheus.CounterVec, delay prometheus.Histogram) {
	return m.Counters(telemetry.Metric{
			Name: "beaconpost_notifications_total", Labels: []string{"channel", "result"},
			Help: "Messages of alert policies by channel's kind and result: sent, pending (to be tried again) or failed.", Worry: "Failed or pending grows.",
		}), m.Histogram(telemetry.Metric{
			Name: "beaconpost_notification_delay_seconds", Help: "Time from when a message was due to when it was sent, gathering and retries included.", Worry: "Its p99 is above two minutes.",
			Buckets: []float64{.1, .5, 1, 5, 15, 30, 45, 60, 120, 300, 900, 3600, 14400},
		})
}

func newNotifier(cfg mail.Config, store *monitorpg.Store, tel *telemetry.Telemetry, obs *observer) (*notifier, error) {
	n := &notifier{store: store, trouble: obs.Trouble, jobs: obs.jobs, tracer: tel.Tracer}
	n.sent, n.delay = notifierMetrics(tel.Metrics)
	for _, result := range []string{"sent", "pending", "failed"} {
		n.sent.WithLabelValues(alert.Email, result)
	}
	if !cfg.Enabled() {
		return n, nil
	}
	sender, err := mail.New(cfg)
	n.sender = sender
	return n, err
}

// run starts the two loops in a group.
func (n *notifier) run(group *lifecycle.Group) {
	group.Every(alertEvery, lifecycle.Rounds(n.trouble, "ask alert policies", roundMost, n.jobs.Timed("ask alert policies", n.store.Alert)))
	group.Every(giveUpEvery, lifecycle.Rounds(n.trouble, "give messages up", roundMost, n.jobs.Timed("give messages up", func(ctx context.Context) (bool, error) {
		return false, n.store.GiveUp(ctx)
	})))
	if n.sender != nil { // what this process cannot send another one can
		group.Every(sendEvery, n.send)
	}
}

// send sends what is due. What was claimed is recorded even if the service is being stopped.
func (n *notifier) send(ctx context.Context) {
	claiming, cancel := context.WithTimeout(ctx, roundMost)
	out, err := n.store.Claim(claiming)
	cancel()
	if err != nil && ctx.Err() == nil {
		n.trouble("claim messages", err)
	}
	var wg sync.WaitGroup
	for _, o := range out { // few
		wg.Go(func() { n.sendOne(context.WithoutCancel(ctx), o) })
	}
	wg.Wait()
}

func (n *notifier) sendOne(ctx context.Context, o monitorpg.Outgoing) {
	ctx, unit := n.tracer.Begin(ctx, "send email", trace.SpanKindClient, telemetry.IDs{})
	err := n.deliver(ctx, o)
	if span := unit.Ending(err != nil); span != nil {
		span.SetAttributes(telemetry.Attr("message.id", o.ID.String()), telemetry.Attr("channel.id", o.Channel.ID.String()))
		if err != nil {
			telemetry.Fail(span, "send", "") // the relay's words may have addresses
		}
		span.End()
	}
	again, remaining := false, []string(nil)
	if _, gone := errors.AsType[goneError](err); err != nil && !gone && mail.Temporary(err) {
		remaining = mail.Remaining(o.Channel.Email.To, err)
		if again = len(remaining) > 0; len(remaining) == len(o.Channel.Email.To) && !o.Partly {
			remaining = nil // nobody has got it
		}
	}
	status, settling := "", errors.New("not tried")
	for try := 0; settling != nil && try < settleTries; try++ { // what is not recorded is sent again
		bounded, cancel := context.WithTimeout(ctx, settleMost)
		status, settling = n.store.Settle(bounded, o, problemOf(err), again, remaining)
		if cancel(); settling != nil {
			n.trouble("record messages", settling)
			lifecycle.Wait(ctx, settlePause)
		}
	}
	if settling != nil {
		return
	}
	n.sent.WithLabelValues(alert.Email, status).Inc()
	switch _, gone := errors.AsType[goneError](err); {
	case err == nil:
		n.delay.Observe(time.Since(o.Batch[0].DueAt).Seconds())
	case !gone: // which is the tenant's doing
		n.trouble("send messages", mail.Unaddressed(err))
	}
}

// problemOf is what a tenant is told: what the relay said of recipients, and nothing of the relay.
func problemOf(err error) string {
	if err == nil {
		return ""
	}
	if gone, ok := errors.AsType[goneError](err); ok {
		return gone.Error()
	}
	if refused, ok := errors.AsType[*mail.Undelivered](err); ok {
		return refused.Error()
	}
	return "The mail relay could not be used."
}

// goneError says, to the tenant, that there is nobody to be told.
type goneError string

func (e goneError) Error() string { return string(e) }

func (n *notifier) deliver(ctx context.Context, o monitorpg.Outgoing) error {
	switch {
	case o.Gone:
		return goneError("The channel was deleted.")
	case len(o.Channel.Email.To) == 0:
		return goneError("Those who had not got it are not in the channel any more.")
	}
	return n.sender.Send(ctx, o.Channel.Email.To, alert.Compose(o.Batch[0].Kind, o.Reports, time.Now()), o.ID.String())
}

// Test sends a message that says only that it comes.
func (n *notifier) test(ctx context.Context, c alert.Channel) error {
	if n.sender == nil {
		return errNoRelay
	}
	return n.sender.Send(ctx, c.Email.To, alert.Message{
		Subject: "Test of an alert channel", Text: "This is a test of the alert channel " + c.ID.String() + ". Nothing is wrong.\n", // no words of the tenant's: it chooses the recipients
	}, c.ID.String()+"."+time.Now().UTC().Format(time.RFC3339Nano))
}
