package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// channelSpec is alert_channels.spec: what its kind needs.
type channelSpec struct {
	To []string `json:"to"`
}

// policySpec is alert_policies.spec.
type policySpec struct {
	Monitors  []uuid.UUID `json:"monitors,omitempty"`
	Tags      []string    `json:"tags,omitempty"`
	Failures  int         `json:"failures,omitempty"`
	After     span        `json:"after,omitempty"`
	Steps     []stepSpec  `json:"steps"`
	Reminder  span        `json:"reminder,omitempty"`
	GroupFor  span        `json:"group_for"`
	OnResolve bool        `json:"on_resolve"`
}

type stepSpec struct {
	Delay    span        `json:"delay,omitempty"`
	Channels []uuid.UUID `json:"channels"`
}

// span is a duration that is stored as a Go string.
type span time.Duration

// MarshalText implements encoding.TextMarshaler.
func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = span(d)
	return err
}

func encodePolicy(p *alert.Policy) (string, error) {
	spec := policySpec{p.Match.Monitors, p.Match.Tags, p.Trigger.Failures, span(p.Trigger.After), nil, span(p.Reminder), span(p.GroupFor), p.OnResolve}
	for _, s := range p.Steps {
		spec.Steps = append(spec.Steps, stepSpec{span(s.Delay), s.Channels})
	}
	text, err := json.Marshal(spec)
	return string(text), err
}

// scanPolicy reads id, name and spec.
func scanPolicy(row pgx.CollectableRow) (p alert.Policy, err error) {
	var id uuid.UUID
	var name string
	var spec []byte
	if err := row.Scan(&id, &name, &spec); err != nil {
		return p, err
	}
	p, err = decodePolicy(id, spec)
	p.Name = name
	return p, err
}

// decodePolicy gives a policy, all but its name.
func decodePolicy(id uuid.UUID, text []byte) (p alert.Policy, err error) {
	var spec policySpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return p, fmt.Errorf("read alert policy %s: %w", id, err)
	}
	p = alert.Policy{
		ID: id, Match: alert.Match{Monitors: spec.Monitors, Tags: spec.Tags}, Trigger: alert.Trigger{Failures: spec.Failures, After: time.Duration(spec.After)},
		Reminder: time.Duration(spec.Reminder), GroupFor: time.Duration(spec.GroupFor), OnResolve: spec.OnResolve,
	}
	for _, s := range spec.Steps {
		p.Steps = append(p.Steps, alert.Step{Delay: time.Duration(s.Delay), Channels: s.Channels})
	}
	return p, nil
}

// scanChannel reads id, name, kind and spec.
func scanChannel(row pgx.CollectableRow) (c alert.Channel, err error) {
	var text []byte
	if err := row.Scan(&c.ID, &c.Name, &c.Kind, &text); err != nil {
		return c, err
	}
	var spec channelSpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return c, fmt.Errorf("read alert channel %s: %w", c.ID, err)
	}
	c.Email.To = spec.To
	return c, nil
}

const (
	insertChannel = `INSERT INTO alert_channels (tenant_id, id, name, kind, spec) VALUES ($1, $2, $3, $4, $5)`
	countChannels = `SELECT count(*) FROM alert_channels WHERE tenant_id = $1 AND deleted_at IS NULL`
	updateChannel = `UPDATE alert_channels SET name = $3, kind = $4, spec = $5 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`
)

// CreateChannel stores a new channel.
func (s *Tenancy) CreateChannel(ctx context.Context, t tenant.ID, c alert.Channel) error {
	return s.putChannel(ctx, t, c, insertChannel)
}

// ReplaceChannel stores a channel in place of the one with its id. Messages that wait are sent to where it leads now.
func (s *Tenancy) ReplaceChannel(ctx context.Context, t tenant.ID, c alert.Channel) error {
	return s.putChannel(ctx, t, c, updateChannel)
}

func (s *Tenancy) putChannel(ctx context.Context, t tenant.ID, c alert.Channel, query string) error {
	spec, err := json.Marshal(channelSpec{c.Email.To})
	if err != nil {
		return err
	}
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if query == insertChannel {
			if err := checkRoom(ctx, q, countChannels, t, ledger.ChannelsMost, "too_many_alert_channels"); err != nil {
				return err
			}
		}
		tag, err := q.Exec(ctx, query, t.UUID(), c.ID, c.Name, c.Kind, string(spec))
		return orMissing(tag.RowsAffected(), unknownTenant(err), channelNotFound())
	})
}

func channelNotFound() error {
	return fault.NotFound("alert_channel_not_found", "There is no alert channel with this id.")
}

// orMissing gives missing if a statement worked and found nothing.
func orMissing(found int64, err, missing error) error {
	if err == nil && found == 0 {
		return missing
	}
	return err
}

const listChannels = `
SELECT id, name, kind, spec FROM alert_channels WHERE tenant_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3`

// Channels gives at most limit+1 channels of t, newest first.
func (s *Tenancy) Channels(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]alert.Channel, error) {
	return listOf(ctx, s, t, scanChannel, listChannels, cursor, limit)
}

// listOf gives the rows of a list that takes tenant, cursor and limit.
func listOf[T any](ctx context.Context, s *Tenancy, t tenant.ID, scan pgx.RowToFunc[T], query string, cursor *uuid.UUID, limit int) (list []T, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, query, t.UUID(), cursor, limit+1)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scan)
		return err
	})
	return list, err
}

const selectChannel = `SELECT id, name, kind, spec FROM alert_channels WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`

// Channel gives one channel of t.
func (s *Tenancy) Channel(ctx context.Context, t tenant.ID, id uuid.UUID) (alert.Channel, error) {
	return oneOf(ctx, s, t, scanChannel, selectChannel, id, channelNotFound())
}

// oneOf gives the row of a query that takes tenant and id.
func oneOf[T any](ctx context.Context, s *Tenancy, t tenant.ID, scan pgx.RowToFunc[T], query string, id uuid.UUID, missing error) (one T, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, query, t.UUID(), id)
		if err != nil {
			return err
		}
		one, err = pgx.CollectExactlyOneRow(rows, scan)
		if errors.Is(err, pgx.ErrNoRows) {
			return missing
		}
		return err
	})
	return one, err
}

const (
	// Policies are written under a share of the lock that a channel's end takes: none names a channel that has gone.
	lockChannels  = `SELECT pg_advisory_xact_lock(hashtextextended('beaconpost_alert_channels:' || $1::text, 0))`
	policyNaming  = `SELECT name FROM alert_policies WHERE tenant_id = $1 AND deleted_at IS NULL AND jsonb_path_exists(spec, '$.steps[*].channels[*] ? (@ == $c)', jsonb_build_object('c', $2::text)) LIMIT 1`
	deleteChannel = `UPDATE alert_channels SET deleted_at = now() WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`
)

// DeleteChannel removes a channel that no policy names: an alert would lead nowhere.
func (s *Tenancy) DeleteChannel(ctx context.Context, t tenant.ID, id uuid.UUID) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if _, err := q.Exec(ctx, lockChannels, t.UUID()); err != nil {
			return err
		}
		var name string
		err := q.QueryRow(ctx, policyNaming, t.UUID(), id.String()).Scan(&name)
		if err == nil {
			return fault.Conflict("alert_channel_in_use", fmt.Sprintf("The alert policy %q tells this channel. Change the policy first.", name))
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		tag, err := q.Exec(ctx, deleteChannel, t.UUID(), id)
		return orMissing(tag.RowsAffected(), err, channelNotFound())
	})
}

const (
	insertPolicy  = `INSERT INTO alert_policies (tenant_id, id, name, spec) VALUES ($1, $2, $3, $4)`
	countPolicies = `SELECT count(*) FROM alert_policies WHERE tenant_id = $1 AND deleted_at IS NULL`
	updatePolicy  = `UPDATE alert_policies SET name = $3, spec = $4 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`
	// Incidents that are open are looked at anew, by the policy as it is now.
	wakePolicy = `
WITH open AS (
    SELECT p.incident_id FROM alert_progress p JOIN incidents i ON i.tenant_id = p.tenant_id AND i.id = p.incident_id
    WHERE p.tenant_id = $1 AND p.policy_id = $2 AND i.resolved_at IS NULL ORDER BY i.monitor_id, p.incident_id FOR UPDATE OF p
)
UPDATE alert_progress p SET look_at = now() FROM open o WHERE p.tenant_id = $1 AND p.policy_id = $2 AND p.incident_id = o.incident_id`
)

// CreatePolicy stores a new policy. Incidents that are open are taken up by JoinAlerts.
func (s *Tenancy) CreatePolicy(ctx context.Context, t tenant.ID, p alert.Policy) error {
	return s.putPolicy(ctx, t, p, insertPolicy)
}

// ReplacePolicy stores a policy in place of the one with its id. Open incidents go on by it.
func (s *Tenancy) ReplacePolicy(ctx context.Context, t tenant.ID, p alert.Policy) error {
	return s.putPolicy(ctx, t, p, updatePolicy)
}

func (s *Tenancy) putPolicy(ctx context.Context, t tenant.ID, p alert.Policy, query string) error {
	spec, err := encodePolicy(&p)
	if err != nil {
		return err
	}
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if _, err := q.Exec(ctx, lockChannels, t.UUID()); err != nil {
			return err
		}
		if query == insertPolicy {
			if err := checkRoom(ctx, q, countPolicies, t, ledger.PoliciesMost, "too_many_alert_policies"); err != nil {
				return err
			}
		}
		if err := checkPolicy(ctx, q, t, &p); err != nil {
			return err
		}
		tag, err := q.Exec(ctx, query, t.UUID(), p.ID, p.Name, spec)
		if err := orMissing(tag.RowsAffected(), unknownTenant(err), policyNotFound()); err != nil {
			return err
		}
		_, err = q.Exec(ctx, wakePolicy, t.UUID(), p.ID)
		return err
	})
}

// checkRoom says whether a tenant may have one more of what query counts. Two at the same moment may be one too many, which does no harm.
func checkRoom(ctx context.Context, q postgres.Querier, query string, t tenant.ID, most int, code fault.Code) error {
	var n int
	if err := q.QueryRow(ctx, query, t.UUID()).Scan(&n); err != nil {
		return err
	}
	if n >= most {
		return fault.Conflict(code, fmt.Sprintf("There are %d already, which is as many as a tenant may have.", n))
	}
	return nil
}

func policyNotFound() error {
	return fault.NotFound("alert_policy_not_found", "There is no alert policy with this id.")
}

const missingChannel = `
SELECT n - 1 FROM unnest($2::uuid[]) WITH ORDINALITY AS k (id, n)
WHERE NOT EXISTS (SELECT FROM alert_channels c WHERE c.tenant_id = $1 AND c.id = k.id AND c.deleted_at IS NULL) ORDER BY n LIMIT 1`

// checkPolicy says whether what a policy names is there.
func checkPolicy(ctx context.Context, q postgres.Querier, t tenant.ID, p *alert.Policy) error {
	if err := checkMonitors(ctx, q, t, p.Match.Monitors, "match.monitors"); err != nil {
		return err
	}
	for i, s := range p.Steps {
		if err := checkThere(ctx, q, missingChannel, t, s.Channels, "unknown_alert_channel", fmt.Sprintf("steps.%d.channels", i), "There is no alert channel with this id."); err != nil {
			return err
		}
	}
	return nil
}

const missingMonitor = `
SELECT n - 1 FROM unnest($2::uuid[]) WITH ORDINALITY AS k (id, n)
WHERE NOT EXISTS (SELECT FROM monitors m WHERE m.tenant_id = $1 AND m.id = k.id) ORDER BY n LIMIT 1`

// checkMonitors says whether the monitors are, or were, there: one that is deleted must not keep anybody from changing what names it.
func checkMonitors(ctx context.Context, q postgres.Querier, t tenant.ID, ids []uuid.UUID, field string) error {
	return checkThere(ctx, q, missingMonitor, t, ids, "unknown_monitor", field, "There is no monitor with this id.")
}

func checkThere(ctx context.Context, q postgres.Querier, query string, t tenant.ID, ids []uuid.UUID, code fault.Code, field, message string) error {
	if len(ids) == 0 {
		return nil
	}
	var at int
	err := q.QueryRow(ctx, query, t.UUID(), postgres.UUIDs(len(ids), func(i int) uuid.UUID { return ids[i] })).Scan(&at)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fault.Invalid(code, fmt.Sprintf("%s.%d", field, at), message)
}

const listPolicies = `
SELECT id, name, spec FROM alert_policies WHERE tenant_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3`

// Policies gives at most limit+1 policies of t, newest first.
func (s *Tenancy) Policies(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]alert.Policy, error) {
	return listOf(ctx, s, t, scanPolicy, listPolicies, cursor, limit)
}

const selectPolicy = `SELECT id, name, spec FROM alert_policies WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`

// Policy gives one policy of t.
func (s *Tenancy) Policy(ctx context.Context, t tenant.ID, id uuid.UUID) (alert.Policy, error) {
	return oneOf(ctx, s, t, scanPolicy, selectPolicy, id, policyNotFound())
}

const deletePolicy = `UPDATE alert_policies SET deleted_at = now() WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`

// DeletePolicy removes a policy. Who was told of an incident that is open is still told its end.
func (s *Tenancy) DeletePolicy(ctx context.Context, t tenant.ID, id uuid.UUID) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		tag, err := q.Exec(ctx, deletePolicy, t.UUID(), id)
		return orMissing(tag.RowsAffected(), err, policyNotFound())
	})
}

// unknownTenant says what is wrong if a credential outlived its tenant.
func unknownTenant(err error) error {
	for _, constraint := range []string{"alert_channels_tenant_id_fkey", "alert_policies_tenant_id_fkey", "maintenance_windows_tenant_id_fkey"} {
		if postgres.IsConstraint(err, constraint) {
			return fault.Forbidden("unknown_tenant", "The credential is for a tenant that does not exist.")
		}
	}
	return err
}
