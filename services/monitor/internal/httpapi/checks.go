package httpapi

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// ResultView is what one check showed.
type ResultView struct {
	Outcome       string           `json:"outcome" enum:"up,degraded,down,not_checked" doc:"not_checked: our own fault; it says nothing of the target."`
	Cause         string           `json:"cause,omitempty" doc:"Why it is not up."`
	Detail        string           `json:"detail,omitempty" doc:"One line for people."`
	StartedAt     time.Time        `json:"started_at" doc:"When the check began."`
	Duration      httpapi.Duration `json:"duration"`
	Phases        PhasesView       `json:"phases"`
	StatusCode    int              `json:"status_code,omitempty" doc:"HTTP or gRPC status, or DNS rcode."`
	IP            string           `json:"ip,omitempty" doc:"That was connected to."`
	CertificateTo *time.Time       `json:"certificate_ends_at,omitempty" doc:"Of the certificate that ends first. Only in the answer to a check that is made now."`
	Evidence      *EvidenceView    `json:"evidence,omitempty" doc:"What is kept of a check that is not up."`
}

// PhasesView says where a check's time went.
type PhasesView struct {
	Resolve    httpapi.Duration `json:"resolve,omitempty" doc:"The name."`
	Connect    httpapi.Duration `json:"connect,omitempty" doc:"To the address."`
	TLS        httpapi.Duration `json:"tls,omitempty" doc:"The handshake."`
	Processing httpapi.Duration `json:"processing,omitempty" doc:"From the request's last byte to the answer's first."`
	Transfer   httpapi.Duration `json:"transfer,omitempty" doc:"The answer's body."`
}

// EvidenceView shows why a check is not up.
type EvidenceView struct {
	Hops         []HopView           `json:"hops,omitempty" doc:"The requests, the first one first: more than one if it was redirected."`
	IPs          []string            `json:"ips,omitempty" doc:"What the name resolved to."`
	Certificates []CertificateView   `json:"certificates,omitempty" doc:"The chain, the target's own first."`
	Headers      map[string][]string `json:"headers,omitempty" doc:"Of the answer."`
	Body         string              `json:"body,omitempty" doc:"The first 8 kB; what is not UTF-8 is replaced."`
	Expected     string              `json:"expected,omitempty" doc:"By the first condition that was not met."`
	Got          string              `json:"got,omitempty" doc:"Instead."`
}

// HopView is one request of an HTTP check.
type HopView struct {
	URL        string `json:"url" doc:"What was asked for."`
	IP         string `json:"ip,omitempty" doc:"That was connected to."`
	StatusCode int    `json:"status_code,omitempty" doc:"Of the answer; absent: there was none."`
}

// CertificateView is one of a chain.
type CertificateView struct {
	Subject   string    `json:"subject" doc:"Distinguished name."`
	Issuer    string    `json:"issuer" doc:"Distinguished name of who signed it."`
	NotBefore time.Time `json:"not_before" doc:"Valid from."`
	NotAfter  time.Time `json:"not_after" doc:"Valid until."`
	DNSNames  []string  `json:"dns_names,omitempty" doc:"Names that it is for."`
	SHA256    string    `json:"sha256" doc:"Of the DER encoding, in hex."`
}

func viewResult(r *check.Result) ResultView {
	p := r.Phases
	return ResultView{
		Outcome: string(r.Outcome), Cause: string(r.Cause), Detail: r.Detail, StartedAt: r.StartedAt.UTC(), Duration: strip(r.Duration),
		Phases:     PhasesView{strip(p.Resolve), strip(p.Connect), strip(p.TLS), strip(p.Processing), strip(p.Transfer)},
		StatusCode: r.Status, IP: r.IP, CertificateTo: optional(r.CertEnds), Evidence: viewEvidence(r.Evidence),
	}
}

func viewEvidence(e *check.Evidence) *EvidenceView {
	if e == nil {
		return nil
	}
	return &EvidenceView{
		Hops: views(e.Hops, func(h check.Hop) HopView { return HopView{h.URL, h.IP, h.Status} }), IPs: e.IPs,
		Certificates: views(e.Certificates, func(c check.Certificate) CertificateView { return CertificateView(c) }),
		Headers:      e.Header, Body: e.Body, Expected: e.Expected, Got: e.Got,
	}
}

func (h *Handlers) checkNow(ctx context.Context, in *IDPath) (*struct{ Body ResultView }, error) {
	t := httpapi.Tenant(ctx)
	w, err := h.Store.Monitor(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	if w.Spec.Kind == check.Heartbeat {
		return nil, fault.Conflict("heartbeat_is_not_checked", "A heartbeat is called by its job; there is nothing to check.")
	}
	if w.Locked {
		return nil, fault.Conflict("secrets_locked", "The installation cannot open the monitor's passwords, tokens and keys. Set them again.")
	}
	result := h.Runner.CheckNow(ctx, t, &w.Monitor)
	return &struct{ Body ResultView }{viewResult(&result)}, nil
}

// CheckView is a check that was made for a slot. It is exported so that the framework describes it by name.
type CheckView struct {
	ID           uuid.UUID        `json:"id" doc:"Of the check; carries the slot's time."`
	MonitorID    uuid.UUID        `json:"monitor_id" doc:"Of which monitor."`
	Region       string           `json:"region" doc:"From where."`
	SlotAt       time.Time        `json:"slot_at" doc:"When it was to be made."`
	Confirmation int              `json:"confirmation" doc:"0: the slot's own check; else the number of the extra one that a failure asked for."`
	Lag          httpapi.Duration `json:"lag" doc:"From the slot's moment to the start."`
	ResultView
}

func viewCheck(c ledger.Check) CheckView {
	return CheckView{c.ID, c.Monitor, c.Region, uuid7.Time(c.ID), c.Confirmation, strip(c.Lag), viewResult(&c.Result)}
}

type (
	listChecksInput struct {
		IDPath
		httpapi.Page
		Outcome string    `query:"outcome" enum:"up,degraded,down,not_checked"`
		Region  string    `query:"region" maxLength:"32"`
		From    time.Time `query:"from" doc:"RFC 3339, inclusive: of the slots."`
		To      time.Time `query:"to" doc:"RFC 3339, exclusive."`
	}
	listChecksOutput struct{ Body httpapi.List[CheckView] }
	checkPath        struct {
		IDPath
		CheckID uuid.UUID `path:"check_id" format:"uuid"`
	}
	checkOutput struct{ Body CheckView }
)

func (h *Handlers) listChecks(ctx context.Context, in *listChecksInput) (*listChecksOutput, error) {
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	list, err := h.Store.Checks(ctx, httpapi.Tenant(ctx), in.ID, ledger.CheckFilter{
		Outcome: in.Outcome, Region: in.Region, Range: ledger.Range{From: in.From, To: in.To}, Cursor: cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return &listChecksOutput{httpapi.NewList(in.Page, views(list, viewCheck), func(v CheckView) uuid.UUID { return v.ID })}, nil
}

func (h *Handlers) getCheck(ctx context.Context, in *checkPath) (*checkOutput, error) {
	c, err := h.Store.Check(ctx, httpapi.Tenant(ctx), in.ID, in.CheckID)
	if err != nil {
		return nil, err
	}
	return &checkOutput{viewCheck(c)}, nil
}

type intervalView struct {
	Status    string            `json:"status" enum:"up,degraded,down,maintenance,paused,unknown" doc:"That the monitor was in."`
	Cause     string            `json:"cause,omitempty" doc:"Why it was not up."`
	StartedAt time.Time         `json:"started_at" doc:"When the status began."`
	EndedAt   *time.Time        `json:"ended_at" doc:"null: it is the present one."`
	Duration  *httpapi.Duration `json:"duration,omitempty" doc:"Absent for the present one."`
}

func viewInterval(i ledger.Interval) intervalView {
	v := intervalView{Status: i.Status, Cause: string(i.Cause), StartedAt: i.Start.UTC(), EndedAt: optional(i.End)}
	if v.EndedAt != nil {
		lasted := strip(i.End.Sub(i.Start))
		v.Duration = &lasted
	}
	return v
}

type (
	listIntervalsInput struct {
		IDPath
		httpapi.Page
		RangeQuery
	}
	listIntervalsOutput struct {
		Body httpapi.List[intervalView]
	}
)

func (h *Handlers) listIntervals(ctx context.Context, in *listIntervalsInput) (*listIntervalsOutput, error) {
	r, err := in.times(month, time.Now())
	if err != nil {
		return nil, err
	}
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	f := ledger.IntervalFilter{Range: r, Limit: in.Limit}
	if cursor != nil {
		f.Before = momentOf(*cursor)
	}
	list, err := h.Store.Intervals(ctx, httpapi.Tenant(ctx), in.ID, f)
	if err != nil {
		return nil, err
	}
	return &listIntervalsOutput{httpapi.NewList(in.Page, views(list, viewInterval), func(v intervalView) uuid.UUID { return cursorOf(v.StartedAt) })}, nil
}

// cursorOf makes a cursor of the start of an interval, which is its key: intervals have no id.
func cursorOf(t time.Time) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], uint64(t.UnixMicro()))
	return id
}

func momentOf(id uuid.UUID) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(id[:8]))).UTC() //nolint:gosec // written by cursorOf
}
