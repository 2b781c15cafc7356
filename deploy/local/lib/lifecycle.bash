# The life of the cluster and of its nodes.

# with_lock COMMAND… lets one change happen at a time.
with_lock() {
	[[ $(id -u) == 0 ]] || fail 'run this as root: it makes network namespaces and mounts'
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	flock 9
	"$@"
}

cluster_up() {
	local number count
	if control_plane_is_well; then
		count=$(node_numbers | wc -l)
		((count == NODES)) || say "it has $count nodes, not $NODES: to change that, run 'cluster down' first"
		for number in $(node_numbers); do node_is_well "$number" || heal_node "$number"; done
		say "the cluster is up: $count nodes, $KUBECONFIG_ADMIN"
		return
	fi
	"$LOCAL_FOLDER/prerequisites"
	[[ ! -e $STATE && ! -e $RUN ]] || say 'removing what an earlier cluster left'
	remove_cluster
	((NODES >= 1 && NODES <= 26)) || fail "NODES=$NODES: choose 1 to 26"
	mkdir -p "$STATE" "$RUN" "$LOGS"
	echo "$NODES" >"$STATE/nodes"
	say "starting $NODES nodes"
	raise_limits
	network_up
	for number in $(node_numbers); do start_containerd "$number"; done
	make_certificates
	start_etcd
	start_apiserver
	for number in $(node_numbers); do
		wait_until 30 "containerd on $(node_name "$number")" node_containerd "$number" version
		load_archive "$number" "$(pause_archive)"
		forget_old_tags "$number"
	done
	wait_until 60 'the API server' api /readyz
	say 'the API server is ready'
	start_controllers
	for number in $(node_numbers); do
		start_kubelet "$number"
		start_kube_proxy "$number"
	done
	# The add-ons give up, or wait, when they may not yet read what they need: their rights come first.
	render_manifests | kubectl apply --server-side --force-conflicts -f - >/dev/null
	start_addons
	for number in $(node_numbers); do wait_until 60 "$(node_name "$number")" node_is_ready "$number"; done
	say 'the nodes are ready'
	route_services
	wait_until 60 'the metrics API' metrics_registered
	wait_until 30 'DNS' dns_answers
	say "the cluster is up: $NODES nodes, $KUBECONFIG_ADMIN"
}

metrics_registered() {
	api /apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io |
		jq -e '.status.conditions[] | select(.type == "Available" and .status == "True")'
}

# Many kubelets and containerds watch many files. The value before is put back at the end.
raise_limits() {
	cat /proc/sys/fs/inotify/max_user_instances >"$RUN/max_user_instances"
	(($(<"$RUN/max_user_instances") >= 1024)) || echo 1024 >/proc/sys/fs/inotify/max_user_instances
}

restore_limits() {
	[[ ! -f $RUN/max_user_instances ]] || cat "$RUN/max_user_instances" >/proc/sys/fs/inotify/max_user_instances
}

cluster_down() {
	remove_cluster
	say 'the cluster is gone (its builds and images are kept in the cache)'
}

# remove_cluster takes away all that a cluster can leave, whatever state it is in, also if only parts are there.
remove_cluster() {
	kill_group ''
	unmount_below "$RUN" "$STATE"
	network_down
	restore_limits
	forget_traces
	rm -rf "$RUN" "$STATE"
}

# forget_traces removes what the programs leave in folders that cannot be chosen.
forget_traces() {
	local file
	find /var/log/containers -maxdepth 1 -type l -lname "$STATE/*" -delete 2>/dev/null || true
	find /var/lib/cni/results -maxdepth 1 \( -name 'herdsman-*' -o -name 'cni-loopback-*' \) -delete 2>/dev/null || true
	for file in /run/containerd/s/* /var/lib/kubelet/device-plugins/kubelet.sock; do
		[[ ! -S $file ]] || grep -qF "$file" /proc/net/unix || rm -f "$file"
	done
	rmdir /var/log/containers /var/lib/cni/results /var/lib/cni /var/lib/kubelet/device-plugins /var/lib/kubelet \
		/run/containerd/s /run/containerd/fifo /run/containerd 2>/dev/null || true
}

lose_node() {
	stop_node "$1"
	route_services
	say "$(node_name "$1") is lost, as if its power was cut"
}

partition_node() {
	ip link set "$(node_link "$1")" down
	route_services
	say "$(node_name "$1") is cut off; its pods keep running"
}

heal_node() {
	local since
	since=$(date --utc +%FT%T.%6NZ)
	if node_processes_run "$1"; then
		ip link set "$(node_link "$1")" up
	else
		stop_node "$1"
		boot_node "$1"
	fi
	wait_until 90 "$(node_name "$1")" node_reports_since "$1" "$since"
	route_services
	say "$(node_name "$1") is ready"
}

node_status() {
	local link=down part processes=()
	link_is_up "$1" && link=up
	for part in containerd kubelet kube-proxy; do process_runs "$(node_name "$1")-$part" && processes+=("$part"); done
	printf '%s  %s  %s  pods %s  link %s  runs: %s\n' "$(node_name "$1")" "$(node_zone "$1")" "$(node_address "$1")" \
		"$(node_pods "$1")" "$link" "${processes[*]:-nothing}"
}

cluster_status() {
	local name number
	if [[ ! -f $STATE/nodes ]]; then
		echo 'no local cluster runs'
		return 1
	fi
	for name in "${HOST_PROCESSES[@]}"; do
		process_runs "$name" && echo "$name  runs" || echo "$name  does not run ($LOGS/$name.log)"
	done
	for number in $(node_numbers); do node_status "$number"; done
	echo "kubeconfig  $KUBECONFIG_ADMIN"
	echo "audit log  $AUDIT_LOG"
	echo "logs  $LOGS"
	echo "volumes  $VOLUMES"
	kubectl get nodes -L topology.kubernetes.io/zone
}
