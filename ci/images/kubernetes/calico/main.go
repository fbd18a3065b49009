// The two programs of Calico that enforce NetworkPolicies on a node, in one file, which picks one by
// its own name: Felix, which writes the firewall's rules, and the plugin that connects pods, whose
// interfaces have the names that Felix looks for.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/projectcalico/calico/cni-plugin/pkg/plugin"
	"github.com/projectcalico/calico/felix/daemon"
)

// Said when it is linked: of the module only a version that means nothing is had.
var version = "unknown"

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "calico":
		plugin.Main(version)
	case "calico-felix":
		// All of its settings are in its environment.
		daemon.Run("/dev/null", version, "", "")
	default:
		fmt.Fprintf(os.Stderr, "%s is not a program of Calico\n", name)
		os.Exit(2)
	}
}
