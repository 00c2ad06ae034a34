// Command delivery runs the delivery service on its own, configured by BEACONPOST_* variables.
package main

import (
	"os"

	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/services/delivery"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(service.Main(delivery.Run, func(c *delivery.Config) {
		c.Version, c.LogWriter = version, os.Stderr
	}))
}
