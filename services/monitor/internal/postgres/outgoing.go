package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// Outgoing is a message that this process is to send, and nobody else for a while.
type Outgoing struct {
	ID      uuid.UUID // of the first of its notifications
	Batch   alert.Batch
	Channel alert.Channel // with those recipients that have not got it
	Reports []alert.Report
	Gone    bool // the channel was deleted
	Partly  bool // others have got it
	Tries   int  // before this one
}

const (
	claimFor    = 3 * time.Minute // longer than a message takes to be sent, and what became of it to be recorded
	claimMost   = SendParallel
	claimOf     = 2 // of a channel: the others' turn comes
	waitingMost = 1000
	holdFor     = time.Minute

	// SendParallel is how many messages are to be sent at the same time: all that Claim gives.
	SendParallel = 16

	// Channels are taken one by one, so that two processes do not divide what belongs together. Tenants take turns.
	dueChannels = `
SELECT tenant_id, channel_id FROM (
    SELECT tenant_id, channel_id, min(next_at) AS next_at, row_number() OVER (PARTITION BY tenant_id ORDER BY min(next_at)) AS turn
    FROM notifications WHERE status = 'pending' AND next_at <= now() AND due_at > now() - $1::interval GROUP BY tenant_id, channel_id) c
ORDER BY turn, next_at LIMIT 50`
	takeChannel = `SELECT pg_try_advisory_xact_lock(hashtext('beaconpost_channel'), hashtext($1))`
	waiting     = `
SELECT id, kind, incident_id, due_at, group_ms, attempts, remaining, coalesce(batch, id), next_at, next_at <= now() FROM notifications
WHERE tenant_id = $1 AND channel_id = $2 AND status = 'pending' AND due_at > now() - $4::interval ORDER BY due_at, id LIMIT $3 FOR UPDATE`
	claimNotices = `UPDATE notifications SET attempts = attempts + 1, batch = $4, next_at = now() + $3::interval WHERE tenant_id = $1 AND id = ANY ($2)`
	holdNotices  = `
UPDATE notifications n SET next_at = greatest(n.next_at, k.until) FROM unnest($2::uuid[], $3::timestamptz[]) AS k (id, until)
WHERE n.tenant_id = $1 AND n.id = k.id AND n.status = 'pending'`
	// Of a channel that has nothing to send now, whatever of it is due: it would come first again, for nothing. What has come meanwhile is looked at soon.
	holdChannel = `
UPDATE notifications SET next_at = now() + $3::interval
WHERE tenant_id = $1 AND channel_id = $2 AND status = 'pending' AND next_at <= now() AND due_at <= now() - $4::interval`
	readChannel = `SELECT name, kind, spec, deleted_at IS NOT NULL FROM alert_channels WHERE tenant_id = $1 AND id = $2`
	readReports = `
SELECT i.id, CASE WHEN i.manual THEN i.title ELSE coalesce(m.name, i.title) END, coalesce(m.spec->>'url', concat_ws(':', m.spec->>'host', m.spec->>'port'), ''),
    i.opened_at, i.resolved_at, coalesce(i.cause, ''), coalesce(i.detail, ''), s.state
FROM incidents i LEFT JOIN monitors m ON m.tenant_id = i.tenant_id AND m.id = i.monitor_id
LEFT JOIN monitor_states s ON s.tenant_id = i.tenant_id AND s.monitor_id = i.monitor_id
WHERE i.tenant_id = $1 AND i.id = ANY ($2)`
)

// Claim gives messages whose time has come.
func (s *Store) Claim(ctx context.Context) (out []Outgoing, err error) {
	type place struct{ owner, channel uuid.UUID }
	var places []place
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, dueChannels, giveUpAfter)
		if err != nil {
			return err
		}
		places, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p place, err error) { return p, row.Scan(&p.owner, &p.channel) })
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if len(out) >= claimMost {
			break // the rest is still there in a second
		}
		var some []Outgoing
		err := s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) (err error) {
			some, err = claimChannel(ctx, q, p.owner, p.channel, min(claimMost-len(out), claimOf))
			return err
		})
		switch {
		case err == nil:
			out = append(out, some...) // not before it is committed
		case ctx.Err() != nil || s.Temporary(err):
			return out, err
		default: // one channel's trouble, and ours: it does not keep the others waiting
			s.log.Error().Err(err).Stringer("channel_id", p.channel).Msg("the messages of a channel cannot be read; they are looked at again in an hour")
			err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
				_, err := q.Exec(ctx, holdChannel, p.owner, p.channel, time.Hour, time.Duration(0))
				return err
			})
			if err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// notification is one that waits, as it is stored.
type notification struct {
	alert.Notification
	tries     int
	remaining []string
	batch     uuid.UUID
	next      time.Time
	free      bool
}

func claimChannel(ctx context.Context, q postgres.Querier, owner, channelID uuid.UUID, most int) ([]Outgoing, error) {
	var mine bool
	if err := q.QueryRow(ctx, takeChannel, channelID.String()).Scan(&mine); err != nil || !mine {
		return nil, err
	}
	rows, err := q.Query(ctx, waiting, owner, channelID, waitingMost, giveUpAfter)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n notification, err error) {
		var group int64
		err = row.Scan(&n.ID, &n.Kind, &n.Incident, &n.DueAt, &group, &n.tries, &n.remaining, &n.batch, postgres.Instant{Time: &n.next}, &n.free)
		n.Tenant, n.Channel, n.GroupFor = tenant.ID(owner), channelID, millis(group)
		return n, err
	})
	if err != nil {
		return nil, err
	}
	batches, fresh, held, byID := sortWaiting(list)
	if len(held) > 0 {
		if err := holdBack(ctx, q, owner, held); err != nil {
			return nil, err
		}
	}
	ready, next := alert.Group(fresh, time.Now())
	batches = apart(append(batches, ready...), most)
	if !next.IsZero() && len(ready) == 0 {
		waits := map[uuid.UUID]time.Time{}
		for _, n := range fresh {
			waits[n.ID] = next
		}
		if err := holdBack(ctx, q, owner, waits); err != nil {
			return nil, err
		}
	}
	if len(batches) == 0 {
		_, err := q.Exec(ctx, holdChannel, owner, channelID, holdFor, 5*time.Second)
		return nil, err
	}
	channel, gone, err := findChannel(ctx, q, owner, channelID)
	if err != nil {
		return nil, err
	}
	var out []Outgoing
	for _, b := range batches {
		o, err := claimBatch(ctx, q, owner, b)
		if err != nil {
			return nil, err
		}
		first := byID[b[0].ID]
		if o.Channel, o.Gone, o.Tries = channel, gone, first.tries; first.remaining != nil {
			o.Partly = true
			o.Channel.Email.To = slices.DeleteFunc(first.remaining, func(to string) bool { return !slices.Contains(channel.Email.To, to) })
		}
		out = append(out, o)
	}
	return out, nil
}

// apart gives the first batches that have no incident in common: they are sent at the same time, and what is told of an incident comes in order.
func apart(batches []alert.Batch, most int) (list []alert.Batch) {
	seen := map[uuid.UUID]bool{}
	for _, b := range batches {
		if len(list) == most {
			break
		}
		shares := slices.ContainsFunc(b, func(n alert.Notification) bool { return seen[n.Incident] })
		for _, n := range b { // what comes behind one that is left out waits too
			seen[n.Incident] = true
		}
		if !shares {
			list = append(list, b)
		}
	}
	return list
}

// sortWaiting gives what is tried again, in the batches in which it was tried before, what is new, and what has to wait: what is told of an incident comes in
// order, so as long as something of it is being sent, or waits to be tried again, the rest of it is held.
func sortWaiting(list []notification) (again []alert.Batch, fresh []alert.Notification, held map[uuid.UUID]time.Time, byID map[uuid.UUID]notification) {
	byID, held = make(map[uuid.UUID]notification, len(list)), map[uuid.UUID]time.Time{}
	busy, tried := map[uuid.UUID]time.Time{}, map[uuid.UUID]int{}
	for _, n := range list {
		byID[n.ID] = n
		if n.tries == 0 {
			continue
		}
		if n.next.After(busy[n.Incident]) {
			busy[n.Incident] = n.next
		}
		if !n.free {
			continue
		}
		at, known := tried[n.batch]
		if !known {
			at = len(again)
			tried[n.batch] = at
			again = append(again, nil)
		}
		again[at] = append(again[at], n.Notification)
	}
	for _, n := range list {
		if n.tries > 0 {
			continue
		}
		if until, ok := busy[n.Incident]; ok {
			held[n.ID] = until
		} else {
			fresh = append(fresh, n.Notification)
		}
	}
	return again, fresh, held, byID
}

func holdBack(ctx context.Context, q postgres.Querier, owner uuid.UUID, until map[uuid.UUID]time.Time) error {
	ids := slices.Collect(maps.Keys(until))
	_, err := q.Exec(ctx, holdNotices, owner, ids, postgres.Times(len(ids), func(i int) time.Time { return until[ids[i]] }))
	return err
}

func findChannel(ctx context.Context, q postgres.Querier, owner, id uuid.UUID) (c alert.Channel, gone bool, err error) {
	var spec []byte
	c.ID = id
	err = q.QueryRow(ctx, readChannel, owner, id).Scan(&c.Name, &c.Kind, &spec, &gone)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, true, nil
	}
	if err != nil {
		return c, gone, err
	}
	var stored channelSpec
	err = json.Unmarshal(spec, &stored)
	c.Email.To = stored.To
	return c, gone, err
}

func claimBatch(ctx context.Context, q postgres.Querier, owner uuid.UUID, b alert.Batch) (o Outgoing, err error) {
	ids, incidents := make([]uuid.UUID, len(b)), make([]uuid.UUID, len(b))
	for i, n := range b {
		ids[i], incidents[i] = n.ID, n.Incident
	}
	o = Outgoing{ID: slices.MinFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }), Batch: b}
	if _, err := q.Exec(ctx, claimNotices, owner, ids, claimFor, o.ID); err != nil {
		return o, err
	}
	rows, err := q.Query(ctx, readReports, owner, incidents)
	if err != nil {
		return o, err
	}
	o.Reports, err = pgx.CollectRows(rows, scanReport)
	return o, err
}

func scanReport(row pgx.CollectableRow) (r alert.Report, err error) {
	var state []byte
	err = row.Scan(&r.Incident, &r.Monitor, &r.Target, postgres.Instant{Time: &r.OpenedAt}, postgres.Instant{Time: &r.ResolvedAt}, &r.Cause, &r.Detail, &state)
	if err != nil || state == nil {
		return r, err
	}
	var st verdict.State
	if err := json.Unmarshal(state, &st); err != nil {
		return r, err
	}
	r.Flapping = st.Flapping
	for _, g := range st.Regions {
		switch {
		case g.From.IsZero():
			r.Regions.Silent++
		case g.Verdict == verdict.Down || g.Failures.N > 0:
			r.Regions.Failing++
		default:
			r.Regions.Passing++
		}
	}
	return r, nil
}

const (
	// What was said when some recipients were refused stays, though others have got it by now. It may have waited before: sent_at is when it is stored (package usage).
	settleNotices = `
UPDATE notifications SET status = $3, sent_at = CASE WHEN $3 = 'sent' THEN clock_timestamp() END, remaining = $5, next_at = $6,
    last_error = coalesce(nullif($4, ''), CASE WHEN remaining IS NOT NULL THEN last_error END)
WHERE tenant_id = $1 AND id = ANY ($2) AND status = 'pending'`
	// What was held for them goes on when they do.
	wakeNotices = `
UPDATE notifications SET next_at = $4 WHERE tenant_id = $1 AND channel_id = $2 AND incident_id = ANY ($3) AND status = 'pending' AND attempts = 0`
	lockChannel = `SELECT pg_advisory_xact_lock(hashtext('beaconpost_channel'), hashtext($1))` // as takeChannel
	// Without a relay nobody tries. What is that old is not sent when there is one.
	giveUpNotices = `
UPDATE notifications SET status = 'failed', last_error = coalesce(last_error, 'It could not be sent for three days.')
WHERE status = 'pending' AND next_at <= now() AND due_at <= now() - $1::interval`
	retryFirst  = 30 * time.Second
	retryMost   = time.Hour
	retryFor    = 72 * time.Hour
	giveUpAfter = retryFor + retryMost + holdFor // the last retry is over by then
)

// GiveUp has messages fail that nobody could send.
func (s *Store) GiveUp(ctx context.Context) error {
	return s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, giveUpNotices, giveUpAfter)
		return err
	})
}

// Settle records what became of a message: it was sent, it failed for good, or it is tried again with the recipients that have not got it; nil: with all
// that the channel has by then. problem says to the tenant why it was not sent; "": it was.
func (s *Store) Settle(ctx context.Context, o Outgoing, problem string, again bool, remaining []string) (status string, err error) {
	now := time.Now()
	status, next, text := "sent", now, storable(problem)
	if problem != "" {
		status = "failed"
		if again && now.Sub(o.Batch[0].DueAt) < retryFor {
			status, next = "pending", now.Add(min(retryFirst<<min(o.Tries, 10), retryMost))
		}
	}
	ids, incidents := make([]uuid.UUID, len(o.Batch)), make([]uuid.UUID, len(o.Batch))
	for i, n := range o.Batch {
		ids[i], incidents[i] = n.ID, n.Incident
	}
	owner := o.Batch[0].Tenant.UUID()
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		if _, err := q.Exec(ctx, lockChannel, o.Channel.ID.String()); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, settleNotices, owner, ids, status, text, remaining, next); err != nil {
			return err
		}
		_, err := q.Exec(ctx, wakeNotices, owner, o.Channel.ID, incidents, next)
		return err
	})
	return status, err
}
