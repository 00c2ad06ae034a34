module github.com/beaconpost/beaconpost/migrations

go 1.26.0
