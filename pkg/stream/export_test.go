package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Build is what a build of some version declares for the deliveries.
type Build struct {
	declaration
	Version   int
	Stream    jetstream.StreamConfig
	Consumers []jetstream.ConsumerConfig
}

// ThisBuild is one of today's, which tests change.
func ThisBuild(replicas int) Build {
	d := deliveries(replicas)
	return Build{d, d.version, d.stream, d.consumers}
}

// Keep has a topology keep what a build declares.
func (t *Topology) Keep(ctx context.Context, b Build) error {
	b.version, b.stream, b.consumers = b.Version, b.Stream, b.Consumers
	return t.keep(ctx, b.declaration)
}

// Declared is one stream with its consumers, as this build declares it.
type Declared struct {
	Stream    jetstream.StreamConfig     `json:"stream"`
	Consumers []jetstream.ConsumerConfig `json:"consumers"`
}

// AllDeclared gives everything that this build declares, by stream and version.
func AllDeclared() map[string]Declared {
	all := map[string]Declared{}
	for _, d := range []declaration{deliveries(1), checks(1, "default")} {
		all[fmt.Sprintf("%s.%d", d.stream.Name, d.version)] = Declared{d.stream, d.consumers}
	}
	return all
}

// VersionOf is the version that something at the broker was declared by.
var VersionOf = versionOf
