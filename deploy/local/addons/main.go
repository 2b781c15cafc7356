// Command addons is what the local cluster runs on the host beside Kubernetes
// itself, in one binary: it dispatches on the name it was started by.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"sigs.k8s.io/metrics-server/cmd/metrics-server/app"

	// The plugins that the local cluster's Corefile names.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "coredns":
		dnsserver.Quiet = true
		coremain.Run()
	case "metrics-server":
		err = app.NewMetricsServerCommand(genericapiserver.SetupSignalHandler()).Execute()
	case "volume-provisioner":
		err = provisionVolumes(os.Args[1:])
	case "forget-containers":
		err = forgetContainers(os.Args[1:])
	default:
		err = fmt.Errorf("%s: start this program as coredns, metrics-server, volume-provisioner or forget-containers", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
