package main

// Log lines. The result of an attempt is its class of error or, as in the metric, the first digit of its status.
const (
	attempts = `message="attempt" | label_format result="{{if .error_class}}{{.error_class}}{{else}}{{substr 0 1 .status}}xx{{end}}"`
	checks   = `message="check"`
)

func overview() dashboard {
	return dashboard{"overview", "Beaconpost / overview", "The promises: what is at risk, and where to look next.", []row{
		{title: "Promises", panels: []panel{
			number("Accepted deliveries nobody works on", "0. Above it for five minutes an alert fires.", "short", "max("+of("beaconpost_deliveries_unaccounted")+")").
				explainedBy("delivery", "Unaccounted", "Oldest unaccounted"),
			number("Events refused", "0.", "ops", "sum("+rate("beaconpost_events_refused_total")+")").
				explainedBy("ingest", "Events", "Time of a flush"),
			number("First attempts within 5 s", "Above 99 %.", "percentunit",
				"sum("+rate("beaconpost_delivery_first_attempt_latency_seconds_bucket", `le=~"5|5.0"`)+") / sum("+rate("beaconpost_delivery_first_attempt_latency_seconds_count")+")").
				explainedBy("delivery", "First attempts: from acceptance to their end"),
			number("Promised checks that were made", "Above 99.9 %.", "percentunit",
				"sum("+rate("beaconpost_scheduler_slots_total", `outcome!="missed"`)+") / sum("+rate("beaconpost_scheduler_slots_total")+")").
				explainedBy("monitor", "Slots"),
		}},
		{title: "Budgets (1 is used up in 30 days; the alerts are at 6 and 14.4)", panels: []panel{
			graph("Burn rate: posted events", "Below 1. The objective is that 99.9 % are not answered 5xx.", "short",
				`sum(`+rate("beaconpost_http_requests_total", `route="/v1/events"`, `status=~"5.."`)+`) / sum(`+rate("beaconpost_http_requests_total", `route="/v1/events"`)+`) / 0.001 or vector(0)`, "events").
				explainedBy("ingest", "Server errors"),
			graph("Burn rate: first attempts", "Below 1. The objective is that 99 % end within 5 s of acceptance.", "short",
				`(1 - sum(`+rate("beaconpost_delivery_first_attempt_latency_seconds_bucket", `le=~"5|5.0"`)+`) / sum(`+rate("beaconpost_delivery_first_attempt_latency_seconds_count")+`)) / 0.01`, "first attempts").
				explainedBy("delivery", "First attempts: from acceptance to their end"),
			graph("Burn rate: checks", "Below 1. The objective is that 99.9 % of the promised checks are made.", "short",
				`sum(`+rate("beaconpost_scheduler_slots_total", `outcome="missed"`)+`) / sum(`+rate("beaconpost_scheduler_slots_total")+`) / 0.001`, "checks").
				explainedBy("monitor", "Slots"),
		}},
		{title: "Flow", panels: []panel{
			{title: "Events and deliveries", good: "What comes goes: delivered follows accepted times the endpoints per event.", unit: "ops", explained: []place{{"ingest", "Events"}, {"delivery", "Deliveries"}}, queries: []query{
				{"sum(" + rate("beaconpost_events_accepted_total") + ")", "accepted"}, {"sum(" + rate("beaconpost_deliveries_created_total") + ")", "deliveries created"},
				{"sum by (outcome) (" + rate("beaconpost_deliveries_total") + ")", "{{outcome}}"},
			}},
			quantiles("From acceptance to delivery", "The median is milliseconds. The tail is retries.", "beaconpost_delivery_latency_seconds").
				explainedBy("delivery", "First attempts: from acceptance to their end", "Time of an attempt"),
			graph("Checks", "Follows the number of monitors. not_checked is ours.", "ops", "sum by (outcome) ("+rate("beaconpost_check_duration_seconds_count")+")", "{{outcome}}").
				explainedBy("monitor", "Checks by outcome"),
			graph("Status of monitors changes", "A few. Many at once are more likely our network than theirs.", "ops", "sum by (to) ("+rate("beaconpost_state_transitions_total")+")", "to {{to}}").
				explainedBy("monitor", "Status changes"),
		}},
		{title: "Parts", panels: []panel{
			graph("Postgres", "1 for every instance.", "short", of("beaconpost_postgres_up"), "{{instance}}").
				explainedBy("postgres", "Up"),
			graph("Broker", "1 for every instance.", "short", of("beaconpost_broker_connected"), "{{instance}}").
				explainedBy("nats", "Connected"),
			graph("Consuming", "1 for every instance.", "short", of("beaconpost_delivery_consuming")+" or "+of("beaconpost_prober_consuming"), "{{instance}}").
				explainedBy("nats", "Waiting"),
			graph("Versions", "One, but during an upgrade.", "short", "count by (service, version) ("+of("beaconpost_build_info")+")", "{{service}} {{version}}").
				explainedBy("ingest", "Server errors").explainedBy("delivery", "Server errors").explainedBy("monitor", "Server errors"),
		}},
	}}
}

func ingest() dashboard {
	return dashboard{"ingest", "Beaconpost / ingest", "Taking events in: are they accepted, and how fast.", []row{
		{title: "Acceptance", panels: []panel{
			{title: "Events", good: "Accepted follows what producers send; refused is 0.", unit: "ops", queries: []query{
				{"sum(" + rate("beaconpost_events_accepted_total") + ")", "accepted"}, {"sum(" + rate("beaconpost_events_replayed_total") + ")", "replayed"},
				{"sum(" + rate("beaconpost_events_refused_total") + ")", "refused"},
			}},
			quantiles("POST /v1/events", "The p99 is tens of milliseconds: one flush to disk.", "beaconpost_http_request_duration_seconds", `route="/v1/events"`).
				leadingTo(lead{service: "ingest", tags: "http.route=/v1/events", traceql: `span.http.route="/v1/events"`, longer: true}),
			graph("Published", "All published. Skipped means the broker is away; the reconciler publishes it later.", "ops", "sum by (result) ("+in("ingest", rate("beaconpost_publish_messages_total"))+")", "{{result}}"),
			graph("Routes read", "Few: they are cached until they change.", "ops", "sum("+rate("beaconpost_routes_loaded_total")+")", "reads"),
		}},
		{title: "Group commit", panels: []panel{
			{title: "Events per flush", good: "Grows with the load: that is how it keeps up.", unit: "short", queries: []query{
				{"sum(" + rate("beaconpost_group_commit_events_sum") + ") / sum(" + rate("beaconpost_group_commit_events_count") + ")", "mean"}, {quantile(.99, "beaconpost_group_commit_events"), "p99"},
			}},
			quantiles("Time of a flush", "Milliseconds. Seconds: Postgres is slow.", "beaconpost_group_commit_duration_seconds"),
			quantiles("Wait for a flush", "Not longer than a flush.", "beaconpost_group_commit_wait_seconds"),
			queues("ingest"),
		}},
		red("ingest"), use("ingest"),
	}}
}

func delivery() dashboard {
	return dashboard{"delivery", "Beaconpost / delivery", "Sending: what is under way, what fails, what waits.", []row{
		{title: "Attempts", panels: []panel{
			graph("Attempts by result", "2xx. A class of error that grows for many endpoints at once is ours.", "ops", "sum by (result) ("+rate("beaconpost_delivery_attempt_duration_seconds_count")+")", "{{result}}").
				leadingTo(lead{service: "delivery", logs: attempts + ` | result="${__field.labels.result}"`, tags: "error.type=${__field.labels.result}", traceql: `span.error.type="${__field.labels.result}"`}),
			quantiles("Time of an attempt", "What the endpoints take.", "beaconpost_delivery_attempt_duration_seconds").
				leadingTo(lead{service: "delivery", logs: attempts, longer: true}),
			quantiles("First attempts: from acceptance to their end", "Little more than an attempt. More: we are late.", "beaconpost_delivery_first_attempt_latency_seconds").
				leadingTo(lead{service: "delivery", logs: attempts + " | attempt=1"}),
			graph("Deliveries", "Exhausted is 0 but for endpoints that are gone.", "ops", "sum by (outcome) ("+rate("beaconpost_deliveries_total")+")", "{{outcome}}").
				leadingTo(lead{service: "delivery", logs: attempts + ` | outcome="${__field.labels.outcome}"`, untraced: true}),
		}},
		{title: "Work", panels: []panel{
			{title: "In flight", good: "Below the bound.", unit: "short", queries: []query{{"sum(" + of("beaconpost_delivery_in_flight") + ")", "in flight"}, {"sum(" + of("beaconpost_delivery_in_flight_max") + ")", "bound"}}},
			graph("Unaccounted", "0.", "short", "max("+of("beaconpost_deliveries_unaccounted")+")", "deliveries"),
			graph("Oldest unaccounted", "0.", "s", "max("+of("beaconpost_deliveries_unaccounted_oldest_age_seconds")+")", "overdue"),
			graph("Republished", "0 without an outage.", "ops", "sum("+rate("beaconpost_reconciler_republished_total")+")", "republished"),
		}},
		{title: "Endpoints in trouble", panels: []panel{
			graph("Endpoints in trouble", "A few, of endpoints that are down.", "short", "max by (state) ("+of("beaconpost_endpoints_in_trouble")+")", "{{state}}"),
			graph("Breakers that move", "Some.", "ops", "sum by (state) ("+rate("beaconpost_endpoint_breaker_transitions_total")+")", "{{state}}").
				leadingTo(lead{service: "delivery", logs: `to="${__field.labels.state}"`, untraced: true}),
			{title: "Parked and drained", good: "Drained follows an endpoint that came back. Parked as they come and not drained: they pile up in Postgres.", unit: "ops", queries: []query{
				{"sum(" + rate("beaconpost_deliveries_created_parked_total") + ")", "parked as they come"}, {"sum(" + rate("beaconpost_deliveries_overflowed_total") + ")", "parked later: more than it takes"}, {"sum(" + rate("beaconpost_deliveries_drained_total") + ")", "drained"},
				{"sum(" + rate("beaconpost_endpoint_probes_total") + ")", "probes"}, {"sum(" + rate("beaconpost_deliveries_expired_total") + ")", "expired"},
			}},
			graph("Disabled", "Few.", "short", "sum by (reason) (increase("+of("beaconpost_endpoints_disabled_total")+"[$__range]))", "{{reason}}"),
			graph("Trouble", "0.", "ops", "sum by (doing) ("+rate("beaconpost_delivery_trouble_total")+") or vector(0)", "{{doing}}").
				leadingTo(lead{service: "delivery", logs: `doing="${__field.labels.doing}"`, untraced: true}),
		}},
		red("delivery"), background("delivery"), use("delivery"),
	}}
}

func monitor() dashboard {
	return dashboard{"monitor", "Beaconpost / monitor", "Watching: is every check made when it is promised, and does what follows get on.", []row{
		{title: "Schedule", panels: []panel{
			graph("Slots", "All checked. Late and missed are 0.", "ops", "sum by (outcome) ("+rate("beaconpost_scheduler_slots_total")+")", "{{outcome}}"),
			quantiles("Lag", "Milliseconds.", "beaconpost_scheduler_lag_seconds").
				leadingTo(lead{service: "monitor"}),
			{title: "Checks under way", good: "Below the bound, also while a fifth of the targets hang.", unit: "short", queries: []query{
				{"sum by (region) (" + of("beaconpost_checks_in_flight") + ")", "{{region}}"}, {"sum by (region) (" + of("beaconpost_checks_in_flight_max") + ")", "bound {{region}}"},
			}},
			graph("Schedules at the broker", "Monitors times regions.", "short", "max("+of("beaconpost_schedules")+")", "schedules"),
		}},
		{title: "Results", panels: []panel{
			graph("Checks by outcome", "Mostly up. not_checked is ours.", "ops", "sum by (outcome) ("+rate("beaconpost_check_duration_seconds_count")+")", "{{outcome}}").
				leadingTo(lead{service: "monitor", logs: checks + ` | outcome="${__field.labels.outcome}"`}),
			graph("Not up, by cause", "Different causes. One that grows for many at once is ours.", "ops", "sum by (cause) ("+rate("beaconpost_checks_not_up_total")+") or vector(0)", "{{cause}}").
				leadingTo(lead{service: "monitor", logs: checks + ` | cause="${__field.labels.cause}"`}),
			graph("Results that wait", "0.", "short", of("beaconpost_queue_length", `queue="results"`), "{{instance}}"),
			graph("Oldest result that waits", "Below a second.", "s", of("beaconpost_result_buffer_age_seconds"), "{{instance}}"),
		}},
		{title: "What follows", panels: []panel{
			graph("Status changes", "A few.", "ops", "sum by (from, to) ("+rate("beaconpost_state_transitions_total")+")", "{{from}} to {{to}}"),
			graph("Mails", "Sent.", "ops", "sum by (result) ("+rate("beaconpost_notifications_total")+")", "{{result}}"),
			graph("Canaries", "1 for every region.", "short", "min by (region) ("+of("beaconpost_prober_egress_up")+")", "{{region}}"),
			graph("Trouble", "0.", "ops", "sum by (doing) ("+rate("beaconpost_monitor_trouble_total")+") or vector(0)", "{{doing}}").
				leadingTo(lead{service: "monitor", logs: `doing="${__field.labels.doing}"`, untraced: true}),
		}},
		red("monitor"), background("monitor"), use("monitor"),
	}}
}

func nats() dashboard {
	return dashboard{"nats", "Beaconpost / NATS", "The broker as the services see it. NATS' own dashboards say how it is inside.", []row{
		{title: "Connections and messages", panels: []panel{
			graph("Connected", "1 for every instance.", "short", of("beaconpost_broker_connected"), "{{instance}}"),
			graph("Messages published", "All published.", "ops", "sum by (result) ("+rate("beaconpost_publish_messages_total")+")", "{{result}}"),
			graph("Out of date", "Few: the delivery had moved on.", "ops", "sum("+rate("beaconpost_delivery_messages_discarded_total")+")", "discarded"),
		}},
		{title: "Consumers", panels: []panel{
			graph("Waiting", "Near 0: what comes is taken.", "short", "max by (consumer) ("+of("beaconpost_consumer_pending")+")", "{{consumer}}"),
			graph("Given out, not acknowledged", "Follows the load.", "short", "max by (consumer) ("+of("beaconpost_consumer_ack_pending")+")", "{{consumer}}"),
			graph("Given out again", "0 without a restart.", "short", "max by (consumer) ("+of("beaconpost_consumer_redelivered")+")", "{{consumer}}"),
		}},
	}}
}

func postgres() dashboard {
	return dashboard{"postgres", "Beaconpost / Postgres", "Postgres as the services see it, and in the last row as its exporter does.", []row{
		{title: "Availability", panels: []panel{
			graph("Up", "1 for every instance.", "short", of("beaconpost_postgres_up"), "{{instance}}"),
			{title: "Connections", good: "Used below max.", unit: "short", queries: []query{{"sum by (instance, state) (" + of("beaconpost_postgres_connections") + ")", "{{instance}} {{state}}"}}},
			graph("Waiting for a connection", "Below 0.1 s per second.", "s", "sum by (instance) ("+rate("beaconpost_postgres_acquire_wait_seconds_total")+")", "{{instance}}"),
			graph("Waits", "Few.", "ops", "sum by (instance) ("+rate("beaconpost_postgres_acquire_waits_total")+")", "{{instance}}"),
		}},
		{title: "Work", panels: []panel{
			quantiles("Time of a group commit", "Milliseconds: a flush to disk.", "beaconpost_group_commit_duration_seconds"),
			graph("Rows of events and deliveries", "Follows the load.", "ops", "sum("+rate("beaconpost_events_accepted_total")+") + sum("+rate("beaconpost_deliveries_created_total")+")", "inserted"),
			graph("Results stored", "Follows the number of monitors.", "ops", "sum("+rate("beaconpost_checks_recorded_total")+")", "results"),
			{title: "Usage not counted", good: "Two to three minutes. It grows: a transaction somewhere is not ended.", unit: "s", queries: []query{{"max(" + of("beaconpost_usage_behind_seconds") + ")", "events, attempts"}, {"max(" + of("beaconpost_monitor_usage_behind_seconds") + ")", "checks"}}},
			{title: "Partitions ahead", good: "7.", unit: "short", queries: []query{{"min(" + of("beaconpost_partitions_ahead") + ")", "events and deliveries"}, {"min(" + of("beaconpost_monitor_partitions_ahead") + ")", "results of checks"}}},
		}},
		exported(),
	}}
}

// exported is what only the server knows, as prometheus-community/postgres_exporter 0.17 says it. What it watches are not our instances: the variables say nothing of them.
// Postgres 17 has checkpoints in a view of their own.
func exported() row {
	perSecond := func(metric string) string { return "rate(" + metric + "[$__rate_interval])" }
	return row{title: "From the server's own exporter, where postgres_exporter is scraped", folded: true, panels: []panel{
		graph("Replication lag", "0 on a primary, below a second on replicas.", "s", "max by (instance) (pg_replication_lag_seconds)", "{{instance}}"),
		graph("Oldest transaction", "Seconds. One of minutes keeps vacuum from removing rows, and partitions from being dropped.", "s",
			"max by (instance, datname) (pg_stat_activity_max_tx_duration)", "{{instance}} {{datname}}"),
		graph("Age of the oldest transaction id", "Below 200 million, where autovacuum begins to freeze. At 2,000 million Postgres refuses writes. Needs --collector.database_wraparound.", "short",
			"max by (instance, datname) (pg_database_wraparound_age_datfrozenxid_seconds)", "{{instance}} {{datname}}"), // it says seconds, and counts ids
		graph("Deadlocks", "0.", "ops", "sum by (instance, datname) ("+perSecond("pg_stat_database_deadlocks")+")", "{{instance}} {{datname}}"),
		{title: "Checkpoints", good: "Timed. Requested ones for long: max_wal_size is too small for the load. Needs --collector.stat_checkpointer with Postgres 17 and later.", unit: "ops", queries: []query{
			{"sum by (instance) (" + perSecond("pg_stat_bgwriter_checkpoints_timed_total") + " or " + perSecond("pg_stat_checkpointer_num_timed_total") + ")", "{{instance}} timed"},
			{"sum by (instance) (" + perSecond("pg_stat_bgwriter_checkpoints_req_total") + " or " + perSecond("pg_stat_checkpointer_num_requested_total") + ")", "{{instance}} requested"},
		}},
		graph("Found in the cache", "Above 99 %. Less: what is worked on does not fit into shared_buffers.", "percentunit",
			"sum by (instance, datname) ("+perSecond("pg_stat_database_blks_hit")+") / (sum by (instance, datname) ("+perSecond("pg_stat_database_blks_hit")+") + sum by (instance, datname) ("+perSecond("pg_stat_database_blks_read")+"))", "{{instance}} {{datname}}"),
		graph("Dead rows", "They come and go with autovacuum. What only grows is not vacuumed.", "short", "topk(10, pg_stat_user_tables_n_dead_tup)", "{{instance}} {{relname}}"),
	}}
}
