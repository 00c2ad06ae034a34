// Package gameday breaks a running system on purpose, one part after another, and says from what Prometheus recorded which alert fired after how long and
// which panels showed it.
//
// What runs: ingest, delivery, two probers of two regions, nats-server and Postgres, a process each and as configured by default, and a Prometheus with
// the repository's own alert rules. Twelve tenants send events at a steady pace to endpoints that answer; others have the endpoints that are going to be down and
// the flood. Monitors check from both regions. The tenants, their endpoints and the latency that they see are this process, which Prometheus scrapes too.
//
// What dies, and what should be seen:
//
//	one endpoint        refuses connections. Its breaker opens; no alert, for it is the tenant's affair and the tenant is told.
//	sixty endpoints     at once. More likely our network than theirs: BreakersOpening.
//	a flooding tenant   posts as fast as it can to an endpoint with a rate limit. What is too much is parked; DeliveriesOverflowing waits half an hour before
//	                    it says so. Nobody else is late.
//	Postgres            answers, but each packet takes 300 ms longer, then 500 ms: PostgresSlow. Events are still accepted. At 500 ms the limits that monitors have for
//	                    their own questions are near.
//	a region's prober   is killed. Monitors go on from the other region: RegionSilent.
//	NATS                is stopped, and started again; then stopped, wiped and started. Events are accepted, deliveries wait: BrokerDisconnected.
//
// A fault is injected when all is calm: nothing fires but what is known to linger from the fault before. It lasts until the expected alerts fire, or as long as it may, is healed, and
// what it made fire is waited for to end. All times come from the recorded data (ALERTS), so they are as fine as the evaluation interval.
//
// A panel shows a fault if one of its series leaves what it was in the calm minutes before by three times its own spread there (at least a tenth of its
// size), appears, or vanishes. So the panel that moves most is first; those that the alert's runbook names have to be among them.
//
// It owns faults, load and report. The processes are package stack's, Prometheus is package observe's.
package gameday
