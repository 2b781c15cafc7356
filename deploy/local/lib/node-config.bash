# What a node's containerd, kubelet and kube-proxy are told.

node_images() { echo "$CACHE/nodes/$(node_name "$1")/containerd"; }
node_run() { echo "$RUN/$(node_name "$1")"; }
node_state() { echo "$STATE/$(node_name "$1")"; }

write_node_config() {
	local run state
	run=$(node_run "$1")
	state=$(node_state "$1")
	mkdir -p "$run/cni" "$state/kubelet" "$(node_images "$1")"
	containerd_config "$1" >"$run/containerd.toml"
	cni_config "$1" >"$run/cni/10-herdsman.conflist"
	kubelet_config "$1" >"$run/kubelet.yaml"
	kube_proxy_config "$1" >"$run/kube-proxy.yaml"
}

# This machine may refuse negative OOM scores (no CAP_SYS_RESOURCE), so nobody asks for them.
containerd_config() {
	local run
	run=$(node_run "$1")
	cat <<-TOML
		version = 2
		root = "$(node_images "$1")"
		state = "$run/containerd"
		disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
		[debug]
		  level = "warn"
		[grpc]
		  address = "$run/containerd.sock"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$run/opt"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "$PAUSE_IMAGE"
		  restrict_oom_score_adj = true
		  netns_mounts_under_state_dir = true
		  stream_server_address = "127.0.0.1"
		[plugins."io.containerd.grpc.v1.cri".cni]
		  bin_dir = "/usr/lib/cni"
		  conf_dir = "$run/cni"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		  runtime_type = "io.containerd.runc.v2"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		  SystemdCgroup = false
		  Root = "$run/runc"
	TOML
}

# ptp, not bridge: every packet is routed, so Services work between pods of one node without br_netfilter.
cni_config() {
	jq -n --arg pods "$(node_pods "$1")" --arg leases "$(node_run "$1")/leases" '{
		cniVersion: "1.0.0", name: "herdsman", plugins: [
			{type: "ptp", ipMasq: false, ipam: {type: "host-local", dataDir: $leases,
				ranges: [[{subnet: $pods}]], routes: [{dst: "0.0.0.0/0"}]}},
			{type: "portmap", capabilities: {portMappings: true}}]}'
}

# The disk of such a machine may be nearly full: nothing is evicted and no image removed for that.
kubelet_config() {
	cat <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		address: $(node_address "$1")
		authentication:
		  anonymous: {enabled: false}
		  webhook: {enabled: true}
		  x509: {clientCAFile: $PKI/ca.crt}
		authorization: {mode: Webhook}
		tlsCertFile: $PKI/$(node_name "$1").crt
		tlsPrivateKeyFile: $PKI/$(node_name "$1").key
		containerRuntimeEndpoint: unix://$(node_run "$1")/containerd.sock
		cgroupDriver: cgroupfs
		cgroupRoot: /$CGROUP/$(node_name "$1")
		failCgroupV1: false
		failSwapOn: false
		enforceNodeAllocatable: [none]
		oomScoreAdj: 0
		clusterDomain: cluster.local
		clusterDNS: [$DNS_SERVICE_ADDRESS]
		imageGCHighThresholdPercent: 100
		imageGCLowThresholdPercent: 99
		evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
		serializeImagePulls: false
		healthzBindAddress: 127.0.0.1
		podLogsDir: $(node_state "$1")/pod-logs
		volumePluginDir: $(node_state "$1")/volume-plugins
		logging: {verbosity: 1}
	YAML
}

kube_proxy_config() {
	cat <<-YAML
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		mode: iptables
		hostnameOverride: $(node_name "$1")
		clientConnection: {kubeconfig: $PKI/kube-proxy.kubeconfig}
		bindAddress: $(node_address "$1")
		healthzBindAddress: 127.0.0.1:10256
		metricsBindAddress: 127.0.0.1:10249
		detectLocalMode: ClusterCIDR
		clusterCIDR: $POD_NETWORK
		# 0s would mean the default of 1s, by which a switchover's second change of a Service waits.
		iptables: {minSyncPeriod: 10ms, syncPeriod: 1h}
		conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
		oomScoreAdj: 0
	YAML
}
