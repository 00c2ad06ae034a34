package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

const (
	alertMost = 200
	// A policy that waits for more failures is asked again so soon, and less often as the incident grows old: no result writes to it.
	failuresEvery = 5 * time.Second
	failuresLeast = 5 * time.Minute

	// Two statements, as of states: what is read along with a lock may be older than what is locked.
	dueAlerts = `
SELECT tenant_id, incident_id, policy_id FROM alert_progress WHERE look_at <= now() ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED`
	readAlerts = `
SELECT a.tenant_id, a.incident_id, a.policy_id, a.progress, CASE WHEN p.deleted_at IS NULL THEN p.spec END,
    i.monitor_id, i.manual OR m.kind = 'heartbeat', i.opened_at, i.acknowledged_at, i.resolved_at, coalesce(m.tags, '{}'), coalesce(m.failure_threshold, 0), s.state
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS k (tenant_id, incident_id, policy_id)
CROSS JOIN LATERAL (SELECT * FROM alert_progress a WHERE a.tenant_id = k.tenant_id AND a.incident_id = k.incident_id AND a.policy_id = k.policy_id OFFSET 0) a
JOIN alert_policies p ON p.tenant_id = a.tenant_id AND p.id = a.policy_id
JOIN incidents i ON i.tenant_id = a.tenant_id AND i.id = a.incident_id
LEFT JOIN monitors m ON m.tenant_id = i.tenant_id AND m.id = i.monitor_id
LEFT JOIN monitor_states s ON s.tenant_id = i.tenant_id AND s.monitor_id = i.monitor_id`
	newPolicies = `SELECT tenant_id, id FROM alert_policies WHERE joined_at IS NULL AND deleted_at IS NULL ORDER BY created_at LIMIT 1000`
	joinAlerts  = `
INSERT INTO alert_progress (tenant_id, incident_id, policy_id, look_at) SELECT tenant_id, id, $2, now() FROM incidents WHERE tenant_id = $1 AND resolved_at IS NULL
ON CONFLICT (tenant_id, incident_id, policy_id) DO NOTHING`
	// Not at once: a policy and an incident that come about at the same moment do not see each other.
	joined       = `UPDATE alert_policies SET joined_at = now() WHERE tenant_id = $1 AND id = $2 AND created_at < now() - interval '1 minute'`
	putOffAlert  = `UPDATE alert_progress SET look_at = $4 WHERE tenant_id = $1 AND incident_id = $2 AND policy_id = $3`
	keepProgress = `UPDATE alert_progress SET progress = $4, look_at = $5 WHERE tenant_id = $1 AND incident_id = $2 AND policy_id = $3`
	insertNotice = `
INSERT INTO notifications (tenant_id, id, channel_id, policy_id, incident_id, kind, due_at, group_ms, next_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $7
WHERE $6 <> 'remind' OR NOT EXISTS (SELECT FROM notifications WHERE tenant_id = $1 AND incident_id = $5 AND channel_id = $3 AND kind = 'remind' AND status = 'pending')`
)

// alerting is one policy at one incident.
type alerting struct {
	owner, incidentID, policyID uuid.UUID
	progress                    alert.Progress
	policy                      *alert.Policy
	incident                    alert.Incident
	broken                      error // what is stored cannot be read
}

// JoinAlerts has new policies take up the incidents that are open, each in a transaction of its own: one tenant's may be many.
func (s *Store) JoinAlerts(ctx context.Context) error {
	var list [][2]uuid.UUID
	err := s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, newPolicies)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p [2]uuid.UUID, err error) { return p, row.Scan(&p[0], &p[1]) })
		return err
	})
	for _, p := range list {
		err = errors.Join(err, s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
			if _, err := q.Exec(ctx, joinAlerts, p[0], p[1]); err != nil {
				return fmt.Errorf("policy %s: %w", p[1], err)
			}
			_, err := q.Exec(ctx, joined, p[0], p[1])
			return err
		}))
	}
	return err
}

// Alert asks the policies for which it is time what is due, and says whether there are more.
func (s *Store) Alert(ctx context.Context) (more bool, err error) {
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, dueAlerts, alertMost)
		if err != nil {
			return err
		}
		keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k [3]uuid.UUID, err error) { return k, row.Scan(&k[0], &k[1], &k[2]) })
		if err != nil || len(keys) == 0 {
			return err
		}
		more = len(keys) == alertMost
		part := func(n int) postgres.Array {
			return postgres.UUIDs(len(keys), func(i int) uuid.UUID { return keys[i][n] })
		}
		if rows, err = q.Query(ctx, readAlerts, part(0), part(1), part(2)); err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, scanAlerting)
		if err != nil {
			return err
		}
		batch, now := &pgx.Batch{}, time.Now().UTC().Truncate(time.Microsecond)
		for _, a := range list {
			if a.broken != nil { // one policy's trouble, and ours: it does not keep the others waiting
				s.log.Error().Err(a.broken).Msg("an alert policy cannot be asked; it is asked again in an hour")
				batch.Queue(putOffAlert, a.owner, a.incidentID, a.policyID, now.Add(time.Hour))
				continue
			}
			if err := a.next(batch, now); err != nil {
				return err
			}
		}
		return q.SendBatch(ctx, batch).Close()
	})
	return more && err == nil, err
}

func scanAlerting(row pgx.CollectableRow) (*alerting, error) {
	a := &alerting{}
	var progress, spec, state []byte
	var about *uuid.UUID
	var tags []string
	var threshold int
	var uncounted *bool
	err := row.Scan(&a.owner, &a.incidentID, &a.policyID, &progress, &spec, &about, &uncounted, postgres.Instant{Time: &a.incident.OpenedAt},
		postgres.Instant{Time: &a.incident.AcknowledgedAt}, postgres.Instant{Time: &a.incident.ResolvedAt}, &tags, &threshold, &state)
	if err != nil {
		return nil, err
	}
	a.incident.ID, a.incident.Uncounted = a.incidentID, uncounted != nil && *uncounted
	a.broken = a.read(progress, spec, state, about, tags, threshold)
	return a, nil
}

// read takes what is stored as documents.
func (a *alerting) read(progress, spec, state []byte, about *uuid.UUID, tags []string, threshold int) error {
	if about != nil {
		a.incident.Monitor = *about
	}
	if err := json.Unmarshal(progress, &a.progress); err != nil {
		return fmt.Errorf("read progress of policy %s: %w", a.policyID, err)
	}
	if spec != nil {
		policy, err := decodePolicy(a.policyID, spec)
		if err != nil {
			return err
		}
		if policy.Match.Has(a.incident.Monitor, tags) {
			a.policy = &policy
		}
	}
	if state == nil {
		return nil
	}
	var st verdict.State
	if err := json.Unmarshal(state, &st); err != nil {
		return fmt.Errorf("read state of monitor %s: %w", a.incident.Monitor, err)
	}
	if st.Incident == a.incidentID {
		a.incident.Flapping, a.incident.Failures = st.Flapping, max(failing(st)-threshold, 0)
	}
	return nil
}

// failing is how many checks failed in a row, in the region where most did.
func failing(st verdict.State) (most int) {
	for _, g := range st.Regions {
		most = max(most, g.Failures.N)
	}
	return most
}

// next stores what is due and what is remembered of it.
func (a *alerting) next(batch *pgx.Batch, now time.Time) error {
	due, progress, next := alert.Next(a.policy, a.incident, a.progress, now)
	for _, d := range due {
		group := alert.DefaultGroupFor
		if a.policy != nil {
			group = a.policy.GroupFor
		}
		for _, channel := range d.Channels {
			id, err := uuid.NewV7()
			if err != nil {
				return err
			}
			batch.Queue(insertNotice, a.owner, id, channel, a.policyID, a.incidentID, string(d.Kind), now, group.Milliseconds())
		}
	}
	text, err := json.Marshal(progress)
	if err != nil {
		return err
	}
	waits := a.policy != nil && a.policy.Trigger.Failures > 0 && progress.TriggeredAt.IsZero() && a.incident.ResolvedAt.IsZero()
	age := now.Sub(a.incident.OpenedAt)
	if soon := now.Add(min(max(age/20, failuresEvery), failuresLeast)); waits && (next.IsZero() || soon.Before(next)) {
		next = soon
	}
	if progress.Over {
		next = time.Time{}
	}
	batch.Queue(keepProgress, a.owner, a.incidentID, a.policyID, string(text), postgres.NullTime(next))
	return nil
}
