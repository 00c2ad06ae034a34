// Package subject holds the names that services share at the broker: streams, subjects, durable consumers, and the rule
// that spreads tenants over shards. Names change only together with every service, so they live beside the messages.
package subject

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	// StreamDeliveries is the work-queue stream that carries due deliveries and retry schedules.
	StreamDeliveries = "DELIVERIES"
	// ReadyAll matches the ready subjects of all shards.
	ReadyAll = "deliveries.ready.*"
	// RetryAll matches the schedule subjects of all deliveries.
	RetryAll = "deliveries.retry.*"
	// RetryTemplate names the retry subjects where an id would be too much, as in spans.
	RetryTemplate = "deliveries.retry.{delivery_id}"
	// ForgetAPIKey is a plain subject, of no stream: its messages say which API key was changed, by its id in canonical text.
	ForgetAPIKey = "credentials.api_key.forget"
	// SendTest is a plain subject for requests of test attempts; delivery services answer as TestGroup.
	SendTest = "endpoints.test"
	// TestGroup is the queue group of delivery services.
	TestGroup = "delivery"
	// Shards is how many ready subjects tenants are spread over.
	Shards = 16
	// DurablePrefix is what the names of the shards' consumers begin with.
	DurablePrefix = "delivery-"

	readyPrefix = "deliveries.ready."
	retryPrefix = "deliveries.retry."
)

// Shard gives the shard of a tenant, in [0, Shards): its id's last byte, which is random in a UUIDv7. beaconpost_shard in the database says the same.
func Shard(tenantID uuid.UUID) int { return int(tenantID[15]) % Shards }

// Ready is the subject on which due deliveries of a shard are published.
func Ready(shard int) string { return readyPrefix + strconv.Itoa(shard) }

// Retry is the subject that holds the retry schedule of one delivery. Purging it cancels the schedule.
func Retry(deliveryID uuid.UUID) string { return retryPrefix + deliveryID.String() }

// IsRetry says whether a subject is of a retry schedule.
func IsRetry(subject string) bool { return strings.HasPrefix(subject, retryPrefix) }

// Durable names the durable consumer of a shard.
func Durable(shard int) string { return DurablePrefix + strconv.Itoa(shard) }

// MessageID is the Nats-Msg-Id of the first message for an attempt: the broker drops a second one within its duplicate window.
func MessageID(deliveryID uuid.UUID, attempt int) string {
	return deliveryID.String() + "." + strconv.Itoa(attempt)
}

// RepeatID is the Nats-Msg-Id of a message that stands in for one that may be lost. due tells repeats apart: the broker must not take a
// repeat for the lost message.
func RepeatID(deliveryID uuid.UUID, attempt int, due time.Time) string {
	return MessageID(deliveryID, attempt) + "." + strconv.FormatInt(due.UnixMicro(), 36)
}

// The names of monitors' checks.
const (
	// StreamChecks is the work-queue stream that carries schedules of checks and checks that are due.
	StreamChecks = "CHECKS"
	// ScheduleAll matches the schedules of all monitors.
	ScheduleAll = "checks.schedule.>"
	// ConfirmAll matches the confirmations that are planned.
	ConfirmAll = "checks.confirm.*.*"
	// CheckDueAll matches the checks that are due, in all regions.
	CheckDueAll = "checks.due.*"

	schedulePrefix = "checks.schedule."
	confirmPrefix  = "checks.confirm."
	dueCheckPrefix = "checks.due."
	proberPrefix   = "prober-"
)

// Schedule is the subject that holds the schedule of a monitor in a region. The interval is part of it, so that the list of subjects says what is scheduled.
func Schedule(monitorID uuid.UUID, region string, interval time.Duration) string {
	return schedulePrefix + monitorID.String() + "." + region + "." + strconv.Itoa(int(interval.Seconds()))
}

// Schedules matches all schedules of a monitor. Purging it cancels them.
func Schedules(monitorID uuid.UUID) string { return schedulePrefix + monitorID.String() + ".>" }

// Confirm is the subject that holds the next confirmation of a monitor in a region.
func Confirm(monitorID uuid.UUID, region string) string {
	return confirmPrefix + monitorID.String() + "." + region
}

// CheckDue is the subject on which checks of a region are due.
func CheckDue(region string) string { return dueCheckPrefix + region }

// Prober names the durable consumer that the probers of a region share.
func Prober(region string) string { return proberPrefix + region }
