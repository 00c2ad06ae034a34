// Package e2e tests Beaconpost from outside: real processes of the real binary, a real nats-server, a Postgres with fsync on, HTTP
// in and HTTP out. Its checker compares what was accepted with what arrived.
//
// It owns no code of the product; everything here is test support.
package e2e
