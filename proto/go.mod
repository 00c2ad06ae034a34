module github.com/beaconpost/beaconpost/proto

go 1.26.0
