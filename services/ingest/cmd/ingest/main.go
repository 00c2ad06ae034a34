// Command ingest runs the ingest service on its own, configured by BEACONPOST_* variables.
package main

import (
	"os"

	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/services/ingest"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(service.Main(ingest.Run, func(c *ingest.Config) {
		c.Version, c.LogWriter = version, os.Stderr
	}))
}
