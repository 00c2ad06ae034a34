// Package bench measures Beaconpost against the parts it is made of: the rate at which it accepts and delivers, how long both take, what they cost
// in CPU, memory and bytes written, and whether anything was lost or came twice.
//
// It owns the load, the sink, the baselines and the report. Everything it measures is a process: the system as the end-to-end tests run it
// (package stack), with fsync on and the default configuration, and one each for producer, sink and baseline. Latencies are taken from the
// moment that is written in the payload, by the clock that all of them share.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// rig is a running system with its sink.
type rig struct {
	*stack.Stack
	sink     *helper
	dir      string
	log      io.Writer // what is going on, for who waits
	keys     []string  // API keys of the tenants that events are for
	types    []string
	accepted map[uuid.UUID]struct{}
	loads    int
	beside   bool // other deliveries stay pending, so only arrivals are waited for
}

// rigConfig says what to start.
type rigConfig struct {
	root       string // of the repository
	replicas   int    // of delivery
	statements bool   // have Postgres count what statements cost
	large      bool   // give Postgres the memory that docs/operations.md recommends for a large installation
	log        io.Writer
}

// startRig starts the system with one endpoint.
func startRig(ctx context.Context, cfg rigConfig) (_ *rig, err error) {
	dir, err := os.MkdirTemp("", "beaconpost-bench-")
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, log: cfg.log, types: []string{"order.paid"}, accepted: map[uuid.UUID]struct{}{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the postgres user has to get through
		return nil, err
	}
	r.say("building")
	bin, err := stack.Build(ctx, cfg.root, dir)
	if err != nil {
		return nil, err
	}
	if r.sink, err = startHelper(roleSink); err != nil {
		return nil, err
	}
	r.say("starting")
	settings := map[string]string{}
	if cfg.large {
		settings["shared_buffers"], settings["max_wal_size"] = "2GB", "8GB"
	}
	if cfg.statements {
		settings["shared_preload_libraries"], settings["pg_stat_statements.track_planning"] = "pg_stat_statements", "on"
	}
	if r.Stack, err = stack.Start(ctx, stack.Config{Dir: dir, Binaries: bin, DiscardLogs: true, Settings: settings, Environ: []string{"BEACONPOST_LOG_LEVEL=info"}}); err != nil {
		return nil, err
	}
	if cfg.statements {
		if _, err := r.Query(ctx, `CREATE EXTENSION pg_stat_statements`); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, err
		}
	}
	r.keys = []string{r.APIKey}
	if err := r.StartMonitor(ctx); err != nil {
		return nil, err
	}
	for range max(cfg.replicas, 1) {
		if err := r.StartDelivery(ctx); err != nil {
			return nil, err
		}
	}
	if cfg.replicas == 0 { // it has declared its stream, as it has in every installation
		if err := r.stopDelivery(); err != nil {
			return nil, err
		}
	}
	if err := r.createEndpoint(ctx, r.APIKey, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// stopDelivery ends all replicas.
func (r *rig) stopDelivery() error {
	var errs []error
	for _, p := range r.Deliveries {
		errs = append(errs, p.Terminate())
	}
	r.Deliveries = nil
	return errors.Join(errs...)
}

func (r *rig) createEndpoint(ctx context.Context, key string, types []string) error {
	body := map[string]any{"url": r.sinkURL("/hook")}
	if types != nil {
		body["event_types"] = types
	}
	return r.Call(ctx, key, "POST", "/v1/endpoints", body, &struct{}{})
}

func (r *rig) say(format string, args ...any) {
	fmt.Fprintf(r.log, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func (r *rig) sinkURL(path string) string { return "http://" + r.sink.addr + path }

// stop ends everything and removes what it wrote.
func (r *rig) stop() error {
	var err error
	if r.Stack != nil {
		err = r.Stop()
	}
	if r.sink != nil {
		r.sink.stop()
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

func (r *rig) sinkStats(ctx context.Context) (SinkStats, error) { return statsOf(ctx, r.sink.addr) }

// statsOf reads what a sink has seen, and begins a new histogram there.
func statsOf(ctx context.Context, addr string) (stats SinkStats, err error) {
	body, err := stack.Get(ctx, "http://"+addr+"/_/stats")
	if err == nil {
		err = json.Unmarshal(body, &stats)
	}
	return stats, err
}

func (r *rig) arrived(ctx context.Context) (int64, error) {
	body, err := stack.Get(ctx, r.sinkURL("/_/count"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(body), 10, 64)
}

// pids names the processes of the system; replicas of a service have numbers.
func (r *rig) pids() map[string]int {
	pids := map[string]int{"ingest": r.Ingest.PID(), "monitor": r.Monitor.PID(), "nats-server": r.NATS.PID(), "sink": r.sink.pid()}
	maps.Copy(pids, r.deliveryPIDs())
	return pids
}

func (r *rig) deliveryPIDs() map[string]int {
	pids := map[string]int{}
	for i, p := range r.Deliveries {
		name := "delivery"
		if i > 0 {
			name = fmt.Sprintf("delivery %d", i+1)
		}
		pids[name] = p.PID()
	}
	return pids
}

// ours are the processes that count as Beaconpost's own memory.
func (r *rig) ours() map[string]bool {
	names := map[string]bool{"ingest": true, "monitor": true}
	for name := range r.deliveryPIDs() {
		names[name] = true
	}
	return names
}

// usage is what the system has used since its start.
type usage struct {
	cpu       map[string]time.Duration // by process
	wal, nats int64                    // bytes
	at        time.Time
}

func (r *rig) usage(ctx context.Context) (usage, error) {
	u := usage{cpu: map[string]time.Duration{"postgres": treeCPU(r.Postgres.PID())}, nats: writtenBy(r.NATS.PID()), at: time.Now()}
	for name, pid := range r.pids() {
		u.cpu[name] = cpuOf(pid)
	}
	text, err := r.Query(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint::text`)
	if err != nil {
		return u, err
	}
	u.wal, err = strconv.ParseInt(text, 10, 64)
	return u, err
}

// pass is one measured load on the system.
type pass struct {
	loadResult
	sink           SinkStats
	arrived        int64                    // between two looks at the sink, before and after the load
	span           time.Duration            // between these looks
	costSpan       time.Duration            // between the looks at what was used: until everything had arrived
	cpu            map[string]time.Duration // by process, the producer's included
	wal            int64                    // bytes
	nats           int64
	memory         map[string]int64 // peak resident bytes by process
	ours           int64            // peak of the sum over our processes
	postgresMemory int64            // at the end of the load, shared pages counted once
	backlogs       []int64          // accepted and not arrived, each second
}

// deliveredPerSecond is the rate at which events arrived while the load was on.
func (p *pass) deliveredPerSecond() float64 { return float64(p.arrived) / p.span.Seconds() }

// cores is how many were busy with a process, or with all of them for "".
func (p *pass) cores(process string) float64 {
	used := p.cpu[process]
	if process == "" {
		for _, d := range p.cpu {
			used += d
		}
	}
	return used.Seconds() / p.costSpan.Seconds()
}

// coresByProcess is cores for each of them, in the order of their names.
func (p *pass) coresByProcess() string {
	var list []string
	for _, process := range slices.Sorted(maps.Keys(p.cpu)) {
		list = append(list, fmt.Sprintf("%s %.2f", process, p.cores(process)))
	}
	return strings.Join(list, ", ")
}

// measure runs a load on the system, notes what it accepts, and waits until all of it has arrived unless nobody delivers.
func (r *rig) measure(ctx context.Context, name string, load Load) (*pass, error) {
	r.say("%s", name)
	r.loads++
	load.URL, load.Keys, load.Types = r.APIURL+"/v1/events", r.keys, r.types
	load.IDs = filepath.Join(r.dir, fmt.Sprintf("accepted-%d", r.loads))
	if _, err := r.sinkStats(ctx); err != nil { // begins a new histogram
		return nil, err
	}
	before, err := r.usage(ctx)
	if err != nil {
		return nil, err
	}
	arrivedBefore, err := r.arrived(ctx)
	if err != nil {
		return nil, err
	}
	p := &pass{}
	looked := time.Now()
	memory := watchMemory(r.pids(), r.ours())
	p.loadResult, err = runLoadProcess(ctx, roleProducer, load, func(accepted int64) {
		if n, err := r.arrived(ctx); err == nil {
			p.backlogs = append(p.backlogs, accepted-(n-arrivedBefore))
		}
	})
	if err != nil {
		memory.stop()
		return nil, err
	}
	arrivedAfter, err := r.arrived(ctx)
	p.arrived, p.span = arrivedAfter-arrivedBefore, time.Since(looked)
	memory.stop()
	if err != nil {
		return nil, err
	}
	p.postgresMemory = treeMemory(r.Postgres.PID())
	p.memory, p.ours = memory.each, memory.ours
	if len(r.Deliveries) > 0 {
		if err := r.settle(ctx, arrivedBefore+p.Accepted); err != nil {
			return nil, err
		}
	}
	after, err := r.usage(ctx)
	if err != nil {
		return nil, err
	}
	p.cpu = map[string]time.Duration{"producer": p.loadResult.cpu}
	for process, used := range after.cpu {
		p.cpu[process] = used - before.cpu[process]
	}
	p.costSpan = after.at.Sub(before.at)
	p.wal, p.nats = after.wal-before.wal, after.nats-before.nats
	if p.sink, err = r.sinkStats(ctx); err != nil {
		return nil, err
	}
	return p, r.remember(load.IDs)
}

// remember takes the accepted ids of a load.
func (r *rig) remember(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	ids, err := readIDs(raw)
	for _, id := range ids {
		r.accepted[id] = struct{}{}
	}
	return err
}

// settle waits until want different events have arrived and every delivery is recorded, as long as there is progress.
func (r *rig) settle(ctx context.Context, want int64) error {
	const patience = 2 * time.Minute
	last, moved := int64(-1), time.Now()
	for {
		n, err := r.arrived(ctx)
		if err != nil {
			return err
		}
		if n >= want {
			break
		}
		if n != last {
			last, moved = n, time.Now()
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("%d accepted events have not arrived for %s", want-n, patience)
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	for deadline := time.Now().Add(patience); !r.beside; {
		pending, err := r.Query(ctx, `SELECT count(*)::text FROM deliveries WHERE status = 'pending'`)
		if err != nil || pending == "0" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s deliveries are still pending", pending)
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// audit compares what was accepted with what arrived.
// A request without an id counts as one that was never accepted.
func (r *rig) audit(ctx context.Context) (lost, duplicates, unknown int64, err error) {
	raw, err := stack.Get(ctx, r.sinkURL("/_/ids"))
	if err != nil {
		return 0, 0, 0, err
	}
	ids, err := readIDs(raw)
	if err != nil {
		return 0, 0, 0, err
	}
	arrived := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		arrived[id] = struct{}{}
		if _, ok := r.accepted[id]; !ok {
			unknown++
		}
	}
	for id := range r.accepted {
		if _, ok := arrived[id]; !ok {
			lost++
		}
	}
	stats, err := r.sinkStats(ctx)
	return lost, stats.Requests - stats.Unique, unknown + stats.Unmarked, err
}
