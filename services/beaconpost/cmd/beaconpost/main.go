// Command beaconpost is all of Beaconpost in one binary: `beaconpost up` runs everything on this machine, the other commands run one
// service, migrate, or help while developing.
package main

import (
	"os"

	"github.com/beaconpost/beaconpost/services/beaconpost"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(beaconpost.Main(os.Args, version))
}
