package monitor

import (
	"context"
	"time"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/usage"
	monitorpg "github.com/beaconpost/beaconpost/services/monitor/internal/postgres"
)

const (
	lookEvery     = 500 * time.Millisecond
	joinEvery     = 5 * time.Second
	rollEvery     = 5 * time.Minute
	maintainEvery = time.Hour
	lagEvery      = 15 * time.Second

	// A round that takes longer waits for something that will not come, such as an answer of a database that the network has cut off.
	roundMost = 30 * time.Second
	longMost  = 10 * time.Minute // of one that reads much

	// What is rolled up again: results come late by as long as Postgres was away.
	rolledBack = monitorpg.RolledBack
	rolledUpTo = 48 * time.Hour
)

// startBackground does what no result and no request asks for. Any number of replicas may do it.
func (p *parts) startBackground() {
	group := lifecycle.NewGroup(context.Background())
	work := func(doing string, most time.Duration, round func(context.Context) (bool, error)) func(context.Context) {
		return lifecycle.Rounds(p.obs.Trouble, doing, most, p.obs.jobs.Timed(doing, round))
	}
	group.Every(lookEvery, work("look at monitors", roundMost, p.look))
	group.Every(lookEvery, work("tell of incidents", roundMost, p.store.Tell))
	group.Every(joinEvery, work("have policies take up incidents", roundMost, func(ctx context.Context) (bool, error) { return false, p.store.JoinAlerts(ctx) }))
	maintain := work("maintain partitions of results", roundMost, p.maintain)
	group.Go(maintain)
	group.Every(maintainEvery, maintain)
	group.Every(maintainEvery, work("delete what is old", longMost, func(ctx context.Context) (bool, error) {
		return p.store.Purge(ctx, time.Now(), p.cfg.Monitor.NotificationRetention, p.cfg.Monitor.HistoryRetention)
	}))
	group.Every(maintainEvery, work("drop old usage", longMost, func(ctx context.Context) (bool, error) {
		return false, p.store.Usage().DropOld(ctx, p.cfg.Monitor.UsageRetention)
	}))
	count := p.store.Usage().Work(p.obs.Trouble, p.obs.jobs, func(behind time.Duration) { p.obs.usageBehind.Set(behind.Seconds()) })
	group.Go(count)
	group.Every(usage.Every, count)
	rollUp := func(hours, days time.Duration) func(context.Context) {
		return work("roll results up", longMost, func(ctx context.Context) (bool, error) { return false, p.store.RollUp(ctx, time.Now(), hours, days) })
	}
	group.Go(rollUp(rolledUpTo, 2*rolledUpTo)) // what was left to do when nobody was there
	group.Every(rollEvery, rollUp(rolledBack, rolledUpTo))
	group.Every(lagEvery, work("look at consumers", lagEvery, func(ctx context.Context) (bool, error) { return false, p.lag.Look(ctx) }))
	p.platform.Push("background work", 5*time.Second, group.Stop)
}

func (p *parts) maintain(ctx context.Context) (bool, error) {
	ahead, err := p.store.Maintain(ctx, monitorpg.Retention{Checks: p.cfg.Monitor.CheckRetention, Fives: p.cfg.Monitor.FiveRetention, Hours: p.cfg.Monitor.HourRetention})
	if err == nil || ahead > 0 { // what is old may not have been dropped, that is another matter
		p.obs.ahead.Set(float64(ahead))
	}
	return false, err
}

// look has monitors looked at whose time has come.
func (p *parts) look(ctx context.Context) (bool, error) {
	what, more, err := p.store.Look(ctx)
	if err != nil {
		return false, err
	}
	p.obs.follow(what)
	for _, d := range what.Confirm {
		p.schedules.Confirm(d)
	}
	return more, nil
}
