module github.com/beaconpost/beaconpost/services/monitor

go 1.26.0

require (
	github.com/beaconpost/beaconpost/pkg v0.0.0
	github.com/beaconpost/beaconpost/proto v0.0.0
	github.com/beaconpost/beaconpost/migrations v0.0.0
)

replace (
	github.com/beaconpost/beaconpost/pkg => ../../pkg
	github.com/beaconpost/beaconpost/proto => ../../proto
	github.com/beaconpost/beaconpost/migrations => ../../migrations
)
