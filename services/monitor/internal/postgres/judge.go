package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/notice/pgnotice"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// hold is how long a monitor that flaps has to do well before it counts as recovered.
const hold = 5 * time.Minute

// judged is a monitor whose state is locked, with what is changed of it.
type judged struct {
	monitor.Key
	name    string
	project *uuid.UUID
	tags    []string
	deleted bool
	version int64 // of the monitor
	rules   verdict.Rules

	state   verdict.State
	account ledger.Account
	knows   int64 // the version of the monitor that the state knows
	lookAt  time.Time
	due     bool // by the database's clock
	effects []verdict.Effects
	touched bool
	reports bool
}

const (
	// Two statements: what waits for a lock sees the row as it is then, but everything else as it was when it began to wait. Who changes a monitor holds its
	// state until that is committed, so the rules are read after the lock was had.
	lockStates = `
SELECT s.tenant_id FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, id)
CROSS JOIN LATERAL (SELECT * FROM monitor_states s WHERE s.tenant_id = k.tenant_id AND s.monitor_id = k.id FOR UPDATE OFFSET 0) s`
	readStates = `
SELECT m.tenant_id, m.id, m.name, m.project_id, m.tags, m.deleted_at IS NOT NULL, m.version, m.spec->'expected', m.interval_ms, m.failure_threshold, m.recovery_threshold, m.confirm, m.paused, m.regions,
    s.state, s.account, s.rules, s.look_at, coalesce(s.look_at <= now(), false)
FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, id)
CROSS JOIN LATERAL (SELECT * FROM monitor_states s WHERE s.tenant_id = k.tenant_id AND s.monitor_id = k.id OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM monitors m WHERE m.tenant_id = k.tenant_id AND m.id = k.id OFFSET 0) m`
)

// lock gives the states of monitors, locked in the order of keys, which has to be theirs: two transactions cannot deadlock.
func (s *Store) lock(ctx context.Context, q postgres.Querier, keys []monitor.Key) (map[monitor.Key]*judged, error) {
	owners, ids := postgres.UUIDs(len(keys), func(i int) uuid.UUID { return keys[i].Tenant.UUID() }), postgres.UUIDs(len(keys), func(i int) uuid.UUID { return keys[i].ID })
	if _, err := q.Exec(ctx, lockStates, owners, ids); err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, readStates, owners, ids)
	if err != nil {
		return nil, err
	}
	var list []*judged
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		j, err := scanJudged(row)
		if j == nil || err != nil { // one monitor's trouble, and ours: the others go on
			s.log.Error().Err(err).Msg("the state of a monitor cannot be read; it is not judged")
			return struct{}{}, nil
		}
		j.rules.Available = s.availableSince()
		list = append(list, j)
		return struct{}{}, nil
	})
	if err != nil {
		return nil, err
	}
	found := make(map[monitor.Key]*judged, len(list))
	for _, j := range list {
		found[j.Key] = j
	}
	return found, s.addWindows(ctx, q, list)
}

func scanJudged(row pgx.CollectableRow) (*judged, error) {
	j := &judged{}
	var owner uuid.UUID
	var expected, state, account []byte
	var interval int64
	err := row.Scan(&owner, &j.ID, &j.name, &j.project, &j.tags, &j.deleted, &j.version, &expected, &interval, &j.rules.FailureThreshold, &j.rules.RecoveryThreshold, &j.rules.Confirm,
		&j.rules.Paused, &j.rules.Regions, &state, &account, &j.knows, postgres.Instant{Time: &j.lookAt}, &j.due)
	if err != nil {
		return nil, err
	}
	j.Tenant, j.rules.Monitor, j.rules.Interval, j.rules.Hold = tenant.ID(owner), j.ID, millis(interval), hold
	if err := json.Unmarshal(state, &j.state); err != nil {
		return nil, fmt.Errorf("read state of monitor %s: %w", j.ID, err)
	}
	if err := json.Unmarshal(account, &j.account); err != nil {
		return nil, fmt.Errorf("read account of monitor %s: %w", j.ID, err)
	}
	if expected == nil {
		return j, nil
	}
	var e check.Expectation
	if err := json.Unmarshal(expected, &e); err != nil {
		return nil, fmt.Errorf("read what monitor %s expects: %w", j.ID, err)
	}
	expectation, err := calendar.ParseExpectation(e)
	if err != nil {
		return nil, fmt.Errorf("read what monitor %s expects: %w", j.ID, err)
	}
	j.rules.Expect, j.rules.Grace = expectation, expectation.Grace
	return j, nil
}

// learn brings a state up to date with its monitor, if that has changed.
func (j *judged) learn(now time.Time) {
	if j.knows == j.version || j.deleted {
		return
	}
	j.knows = j.version
	if j.rules.Expect == nil {
		j.account.Keep(j.rules.Regions)
	}
	state, effects := j.rules.Edited(j.state, now)
	j.take(state, effects)
}

// look does what time alone does.
func (j *judged) look(now time.Time) {
	if j.deleted {
		state, effects := j.rules.Deleted(j.state, now)
		j.take(state, effects)
		return
	}
	state, effects, _ := j.rules.Look(j.state, now)
	j.take(state, effects)
}

func (j *judged) take(state verdict.State, effects verdict.Effects) {
	j.state, j.touched = state, true
	j.effects = append(j.effects, effects)
	for _, in := range effects.Incidents {
		if !in.Resolved {
			j.account.Fail(in.Cause)
		}
	}
}

// next is when somebody has to look. As long as a monitor is checked that moves on with each report, so it is moved only when it comes near: an index is written for it.
func (j *judged) next(now time.Time) time.Time {
	if j.deleted {
		return time.Time{}
	}
	next := j.rules.Next(j.state, now)
	if !j.lookAt.IsZero() && j.lookAt.After(now.Add(j.rules.Interval)) && !next.IsZero() && j.lookAt.Before(next) {
		return j.lookAt
	}
	return next
}

// write stores what was judged, in the order of keys, and gives what goes on elsewhere.
func (s *Store) write(ctx context.Context, q postgres.Querier, all []*judged, add rollups, now time.Time) (what monitor.Consequences, due []stream.DeliveryReady, err error) {
	slices.SortFunc(all, func(a, b *judged) int { return compareKeys(a.Key, b.Key) })
	batch := &pgx.Batch{}
	var notices []notice.Notice
	for _, j := range all {
		if !j.touched {
			continue
		}
		if err := j.queueState(batch, now); err != nil {
			return what, nil, err
		}
		for _, e := range j.effects {
			j.queueEffects(batch, e, now)
			told, err := j.notices(e)
			if err != nil {
				return what, nil, err
			}
			notices = append(notices, told...)
			j.consequences(&what, e, now)
		}
	}
	add.store(batch, now)
	if batch.Len() > 0 {
		if err := q.SendBatch(ctx, batch).Close(); err != nil {
			return what, nil, err
		}
	}
	if due, err = pgnotice.Insert(ctx, q, notices...); err != nil {
		return what, nil, fmt.Errorf("tell tenants: %w", err)
	}
	return what, due, nil
}

const (
	updateState = `
UPDATE monitor_states SET status = $3, since = $4, version = $5, state = $6, rules = $7, incident_id = $8, reported_at = CASE WHEN $9 THEN now() ELSE reported_at END, look_at = $10,
    account = $11
WHERE tenant_id = $1 AND monitor_id = $2`
	// look_at is indexed: a row whose look_at stays is not written to the index again.
	updateStateOnly = `
UPDATE monitor_states SET state = $3, rules = $4, reported_at = CASE WHEN $5 THEN now() ELSE reported_at END, account = $6 WHERE tenant_id = $1 AND monitor_id = $2`
)

func (j *judged) queueState(batch *pgx.Batch, now time.Time) error {
	state, err := json.Marshal(j.state)
	if err != nil {
		return err
	}
	account, err := json.Marshal(j.account)
	if err != nil {
		return err
	}
	next := j.next(now)
	if !j.moved() && next.Equal(j.lookAt) {
		batch.Queue(updateStateOnly, j.Tenant.UUID(), j.ID, string(state), j.knows, j.reports, string(account))
		return nil
	}
	var incident *uuid.UUID
	if j.state.Incident != uuid.Nil {
		incident = &j.state.Incident
	}
	status := j.state.Status
	if status == "" {
		status = verdict.Paused // deleted: it has none
	}
	batch.Queue(updateState, j.Tenant.UUID(), j.ID, string(status), j.state.Since, j.state.Version, string(state), j.knows, incident, j.reports, postgres.NullTime(next), string(account))
	return nil
}

// moved says whether more than the state's inside has changed.
func (j *judged) moved() bool {
	return slices.ContainsFunc(j.effects, func(e verdict.Effects) bool { return len(e.Changes)+len(e.Incidents) > 0 })
}

const (
	endInterval   = `UPDATE monitor_intervals SET ended_at = greatest($3, started_at) WHERE tenant_id = $1 AND monitor_id = $2 AND ended_at IS NULL`
	beginInterval = `INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, status, cause) VALUES ($1, $2, $3, $4, nullif($5, ''))`
	openIncident  = `
INSERT INTO incidents (tenant_id, id, monitor_id, project_id, title, cause, detail, opened_at) VALUES ($1, $2, $3, $4, $5, nullif($6, ''), nullif($7, ''), $8)`
	// Every policy of the tenant looks at every incident; which it is for, its rules say.
	beginAlerts = `
INSERT INTO alert_progress (tenant_id, incident_id, policy_id, look_at) SELECT tenant_id, $2, id, $3 FROM alert_policies WHERE tenant_id = $1 AND deleted_at IS NULL`
	resolveIncident = `UPDATE incidents SET resolved_at = greatest($3, opened_at) WHERE tenant_id = $1 AND id = $2 AND resolved_at IS NULL`
	wakeAlerts      = `UPDATE alert_progress SET look_at = $3 WHERE tenant_id = $1 AND incident_id = $2`
)

func (j *judged) queueEffects(batch *pgx.Batch, e verdict.Effects, now time.Time) {
	t := j.Tenant.UUID()
	for _, c := range e.Changes {
		if c.From != "" {
			batch.Queue(endInterval, t, j.ID, c.At)
		}
		if c.To != "" {
			batch.Queue(beginInterval, t, j.ID, c.At, string(c.To), string(c.Cause))
		}
	}
	for _, in := range e.Incidents {
		if in.Resolved {
			batch.Queue(resolveIncident, t, in.ID, in.At)
			batch.Queue(wakeAlerts, t, in.ID, now)
			continue
		}
		batch.Queue(openIncident, t, in.ID, j.ID, j.project, j.title(), string(in.Cause), storable(in.Detail), in.At)
		batch.Queue(beginAlerts, t, in.ID, now)
	}
}

func (j *judged) title() string { return j.name + " is down" }

// notices makes the tenant's events of effects.
func (j *judged) notices(e verdict.Effects) (told []notice.Notice, err error) {
	for _, event := range e.Events {
		data := struct {
			Monitor           uuid.UUID   `json:"monitor_id"`
			Name              string      `json:"name"`
			Tags              []string    `json:"tags,omitempty"`
			At                time.Time   `json:"at"`
			Incident          *uuid.UUID  `json:"incident_id,omitempty"`
			Cause             check.Cause `json:"cause,omitempty"`
			Detail            string      `json:"detail,omitempty"`
			Flapping          bool        `json:"flapping,omitempty"`
			CertificateEndsAt *time.Time  `json:"certificate_ends_at,omitempty"`
		}{j.ID, j.name, j.tags, event.At, nil, event.Cause, event.Detail, j.state.Flapping, postgres.NullTime(event.CertEnds)}
		if event.Incident != uuid.Nil {
			data.Incident = &event.Incident
		}
		n, err := notice.New(j.Tenant, event.Type, event.At, data)
		if err != nil {
			return nil, err
		}
		if j.project != nil {
			n.Project = *j.project
		}
		told = append(told, n)
	}
	return told, nil
}

func (j *judged) consequences(what *monitor.Consequences, e verdict.Effects, now time.Time) {
	for _, ask := range e.Ask {
		what.Confirm = append(what.Confirm, monitor.Due{Key: j.Key, Region: ask.Region, Slot: ask.Slot.Number, Confirmation: ask.Confirmation, At: now.Add(ask.After)})
	}
	for _, c := range e.Changes {
		what.Moved = append(what.Moved, monitor.Transition{From: string(c.From), To: string(c.To)})
	}
}
