# A node: its own network namespace, containerd, kubelet and kube-proxy.

node_containerd() { ctr --address "$(node_run "$1")/containerd.sock" --namespace k8s.io "${@:2}"; }

start_containerd() {
	local name
	name=$(node_name "$1")
	"$CACHE/bin/forget-containers" "$(node_images "$1")"
	rm -rf "$(node_images "$1")/io.containerd.grpc.v1.cri/"{containers,sandboxes}
	rm -rf "$(node_run "$1")"
	write_node_config "$1"
	start_process "$name/daemons" "$(node_namespace "$1")" "$name-containerd" \
		"$(command -v containerd)" --config "$(node_run "$1")/containerd.toml"
}


start_kubelet() {
	local name
	name=$(node_name "$1")
	start_process "$name/daemons" "$(node_namespace "$1")" "$name-kubelet" "$CACHE/bin/kubelet" \
		--config="$(node_run "$1")/kubelet.yaml" --kubeconfig="$PKI/$name.kubeconfig" \
		--hostname-override="$name" --node-ip="$(node_address "$1")" \
		--root-dir="$(node_state "$1")/kubelet" --cert-dir="$(node_state "$1")/pki" \
		--node-labels="topology.kubernetes.io/region=local,topology.kubernetes.io/zone=$(node_zone "$1")"
}

start_kube_proxy() {
	local name
	name=$(node_name "$1")
	start_process "$name/daemons" "$(node_namespace "$1")" "$name-kube-proxy" "$CACHE/bin/kube-proxy" \
		--config="$(node_run "$1")/kube-proxy.yaml"
}

node_processes_run() {
	local name part
	name=$(node_name "$1")
	for part in containerd kubelet kube-proxy; do process_runs "$name-$part" || return 1; done
}

node_is_ready() {
	api "/api/v1/nodes/$(node_name "$1")" | jq -e '.status.conditions[]? | select(.type == "Ready" and .status == "True")' >/dev/null
}

# node_reports_since NUMBER TIME tells whether the kubelet has renewed its lease after that time: the
# Ready condition alone stays true for most of a minute after a node is lost.
node_reports_since() {
	local renewed
	renewed=$(api "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/$(node_name "$1")" | jq -r .spec.renewTime)
	[[ $renewed > $2 ]] && node_is_ready "$1"
}

node_is_well() { link_is_up "$1" && node_processes_run "$1" && node_is_ready "$1"; }

# stop_node is a power cut: first no packet leaves (so no peer sees a closed connection), then all
# processes end at once, and what only a running kernel holds is gone: mounts, network namespaces.
stop_node() {
	local name part
	name=$(node_name "$1")
	ip link set "$(node_link "$1")" down 2>/dev/null || true
	kill_group "$name"
	unmount_below "$(node_run "$1")" "$(node_state "$1")"
	for part in containerd kubelet kube-proxy; do rm -f "$RUN/pids/$name-$part"; done
}

# boot_node starts a node that is stopped. It has its images and volumes, and none of its containers.
boot_node() {
	node_network_down "$1"
	node_network_up "$1"
	start_containerd "$1"
	wait_until 20 "containerd on $(node_name "$1")" node_containerd "$1" version
	load_archive "$1" "$(pause_archive)"
	start_kubelet "$1"
	start_kube_proxy "$1"
}
