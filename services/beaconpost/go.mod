module github.com/beaconpost/beaconpost/services/beaconpost

go 1.26.0

require (
	github.com/beaconpost/beaconpost/pkg v0.0.0
	github.com/beaconpost/beaconpost/proto v0.0.0
	github.com/beaconpost/beaconpost/migrations v0.0.0
	github.com/beaconpost/beaconpost/services/ingest v0.0.0
	github.com/beaconpost/beaconpost/services/delivery v0.0.0
	github.com/beaconpost/beaconpost/services/monitor v0.0.0
)

replace (
	github.com/beaconpost/beaconpost/pkg => ../../pkg
	github.com/beaconpost/beaconpost/proto => ../../proto
	github.com/beaconpost/beaconpost/migrations => ../../migrations
	github.com/beaconpost/beaconpost/services/ingest => ../../services/ingest
	github.com/beaconpost/beaconpost/services/delivery => ../../services/delivery
	github.com/beaconpost/beaconpost/services/monitor => ../../services/monitor
)
