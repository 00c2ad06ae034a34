// Package postgres owns how services reach the database: the pool, roles taken per transaction, tenant context by
// transaction-local setting, pipelined transactions, and the one place where database errors become faults.
//
// It knows no table. Queries live in the services' internal/postgres; DDL in migrations.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Role is a database role that a transaction takes with SET LOCAL ROLE.
type Role string

// The roles of Beaconpost; migrations say what each may do.
const (
	RoleAPI      Role = "beaconpost_api"
	RoleIngest   Role = "beaconpost_ingest"
	RoleDelivery Role = "beaconpost_delivery"
	RoleMonitor  Role = "beaconpost_monitor"
)

// Querier is what a query needs; a transaction is one.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Config says where the database is and how much of it to use.
type Config struct {
	URL             string
	MaxConns        int32         // 0: 10
	ConnectTimeout  time.Duration // 0: 3 s
	ApplicationName string
	Tracer          *telemetry.Tracer // nil: statements are not traced
}

// DB is a pool of connections. Every use of it is a transaction under one role: outside of one, the login has no rights.
// It is safe for concurrent use.
type DB struct {
	pool    *pgxpool.Pool
	tracer  *telemetry.Tracer
	relaxed bool
}

// Open prepares a pool. It does not connect: a service starts while Postgres is down, and says so by its readiness.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("parse database url: %s", withoutURL(err))
	}
	pc.MaxConns = cfg.MaxConns
	if pc.MaxConns == 0 {
		pc.MaxConns = 10
	}
	pc.ConnConfig.ConnectTimeout = cfg.ConnectTimeout
	if cfg.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 3 * time.Second
	}
	if cfg.ApplicationName != "" {
		pc.ConnConfig.RuntimeParams["application_name"] = cfg.ApplicationName
	}
	pc.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		register(conn)
		return nil
	}
	t := cfg.Tracer
	if t == nil {
		t = telemetry.NoTracer()
	}
	if t.Exports() {
		// Statements are shown, what they are given is not. They are part of a trace or not seen at all: no span begins with one.
		pc.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(t.Provider()), otelpgx.WithMeterProvider(noop.NewMeterProvider()))
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	return &DB{pool: pool, tracer: t}, nil
}

// withoutURL says what is wrong with a connection string and nothing of what it is: the library takes passwords out where it finds them, which is not everywhere.
func withoutURL(err error) string {
	text := err.Error()
	if end := strings.LastIndex(text, "`: "); end >= 0 {
		text = text[end+len("`: "):]
	}
	if strings.HasPrefix(text, "failed to parse as ") { // and a piece of it
		return "it is neither a URL nor keyword=value; what is special in a password is percent-encoded or quoted"
	}
	return text
}

// Close waits for connections in use and closes the pool.
func (db *DB) Close() { db.pool.Close() }

// Ping asks the server for a sign of life.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.pool.Ping(ctx); err != nil {
		return Fault(fmt.Errorf("ping database: %w", err))
	}
	return nil
}

// Relaxed gives the same pool, whose transactions do not wait for the disk: what they change is seen by everybody at once, but a crash of Postgres (of nothing
// else) may undo the last fraction of a second of it, in order: whatever was committed after it and waited for is not kept without it. It is for what is found
// out again, and keeps that from delaying those who have to wait.
func (db *DB) Relaxed() *DB { return &DB{pool: db.pool, tracer: db.tracer, relaxed: true} }

// Joint starts a span around what is done in the database for many traces at once, see telemetry.Tracer.Joint; without one that is sampled there is none. Statements with
// the context that it gives are inside of it. Call end with the outcome.
func (db *DB) Joint(ctx context.Context, name string, contexts func(yield func(trace.SpanContext) bool)) (_ context.Context, end func(error)) {
	ctx, span := db.tracer.Joint(ctx, name, trace.SpanKindInternal, contexts)
	return ctx, func(err error) {
		if err != nil {
			telemetry.Fail(span, "", err.Error())
		}
		span.End()
	}
}

// Stat gives the pool's counters, for metrics.
func (db *DB) Stat() *pgxpool.Stat { return db.pool.Stat() }

const (
	// Compiling a plan costs more than any of our statements: over many partitions their estimates are far beyond what they do.
	takeRole = `SELECT set_config('role', $1, true), set_config('jit', 'off', true)`
	// A statement that joins an array of keys with growing tables would be planned once, while they are small, and that plan kept: ten rows are best
	// scanned, and then ten million are. It is planned anew for each batch; bounds on the id keep that to the partitions in question. What is due was written
	// a moment ago, so its pages are in memory.
	takeRoleForBatch = `SELECT set_config('role', $1, true), set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true), set_config('random_page_cost', '1.1', true)`
	// A statement that looks rows up by an array of keys has one good plan however large the tables are: the key's index, row by row. With every other
	// way switched off that is what it gets, so it need not be planned again; partitions are pruned when it starts.
	byKeys = `, set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_material', 'off', true)`
	takeRoleForKeys = `SELECT set_config('role', $1, true)` + byKeys
	takeTenants     = `SELECT set_config('role', $1, true), set_config('app.tenant_ids', $2, true)` + byKeys
	relax           = `, set_config('synchronous_commit', 'off', true)`
	takeTenant      = `SELECT set_config('role', $1, true), set_config('app.tenant_id', $2, true), set_config('jit', 'off', true)`
)

// InTenant runs fn in one transaction as RoleAPI with t as its tenant: row-level security shows and accepts only t's rows.
// The error of fn, or of the commit, comes back as a fault.
func (db *DB) InTenant(ctx context.Context, t tenant.ID, fn func(context.Context, Querier) error) error {
	return db.transact(ctx, fn, takeTenant, string(RoleAPI), t.String())
}

// As runs fn in one transaction as role, without a tenant: for the background work that the role's policies allow.
func (db *DB) As(ctx context.Context, role Role, fn func(context.Context, Querier) error) error {
	return db.transact(ctx, fn, takeRole, string(role))
}

// AsBatch is As for statements that join an array of keys with large tables: they are planned for each execution.
func (db *DB) AsBatch(ctx context.Context, role Role, fn func(context.Context, Querier) error) error {
	return db.transact(ctx, fn, takeRoleForBatch, string(role))
}

// AsKeys is As for statements that look rows up by keys, as Pipeline.RoleForKeys has them.
func (db *DB) AsKeys(ctx context.Context, role Role, fn func(context.Context, Querier) error) error {
	return db.transact(ctx, fn, takeRoleForKeys, string(role))
}

func (db *DB) transact(ctx context.Context, fn func(context.Context, Querier) error, take string, args ...any) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if db.relaxed {
			take += relax
		}
		if _, err := tx.Exec(ctx, take, args...); err != nil {
			return fmt.Errorf("take role: %w", err)
		}
		return fn(ctx, tx)
	})
	return Fault(err)
}

// Pipeline collects statements that run in one transaction and one round trip. It is not safe for concurrent use.
type Pipeline struct {
	batch pgx.Batch
}

// Tenant makes the following statements run as RoleAPI for t.
func (p *Pipeline) Tenant(t tenant.ID) {
	p.batch.Queue(takeTenant, string(RoleAPI), t.String())
}

// Tenants makes the following statements run as RoleIngest, which may append rows of these tenants and of no others. They are planned as those
// of RoleForKeys are.
func (p *Pipeline) Tenants(tenants []tenant.ID) {
	list := make([]byte, 0, 37*len(tenants))
	for i, t := range tenants {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, t.String()...)
	}
	p.batch.Queue(takeTenants, string(RoleIngest), string(list))
}

// Role makes the following statements run as role.
func (p *Pipeline) Role(role Role) { p.batch.Queue(takeRole, string(role)) }

// RoleForKeys makes the following look-ups by arrays of keys run as role, planned once per connection to use the keys' indexes. Each statement must
// fix the order of its joins: with everything else switched off there is no good plan to be had otherwise.
func (p *Pipeline) RoleForKeys(role Role) { p.batch.Queue(takeRoleForKeys, string(role)) }

// RoleForBatch makes the following statements run as role, planned for each execution as AsBatch does.
func (p *Pipeline) RoleForBatch(role Role) { p.batch.Queue(takeRoleForBatch, string(role)) }

// Queue adds a statement. read, if not nil, is given its rows; it need not close them.
func (p *Pipeline) Queue(sql string, read func(pgx.Rows) error, args ...any) {
	q := p.batch.Queue(sql, args...)
	if read != nil {
		q.Query(read)
	}
}

// Run sends the pipeline. All of its statements are committed when it returns nil; otherwise none is, unless the
// connection broke during the commit or it is a reader's error: readers get rows after the commit. The error is a fault.
func (db *DB) Run(ctx context.Context, p *Pipeline) error {
	if db.relaxed {
		p.batch.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
	}
	// Statements between two Syncs are one implicit transaction: no BEGIN, no COMMIT, one round trip.
	return Fault(db.pool.SendBatch(ctx, &p.batch).Close())
}

// IsConstraint reports whether err is a violation of the named constraint.
func IsConstraint(err error, name string) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.ConstraintName == name
}
