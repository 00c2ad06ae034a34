// Command monitor runs the monitor service on its own, configured by BEACONPOST_* variables.
package main

import (
	"os"

	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/services/monitor"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(service.Main(monitor.Run, func(c *monitor.Config) {
		c.Version, c.LogWriter = version, os.Stderr
	}))
}
