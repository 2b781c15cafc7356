# The network: a bridge on the host, and for each node a network namespace with one link to it.
# The host has routes to every pod and, by way of one live node's kube-proxy, to every Service.

network_up() {
	mkdir -p "$RUN"
	[[ -f $RUN/ip_forward ]] || cat /proc/sys/net/ipv4/ip_forward >"$RUN/ip_forward"
	echo 1 >/proc/sys/net/ipv4/ip_forward
	ip link add "$BRIDGE" type bridge
	ip address add "$HOST_ADDRESS/${NODE_NETWORK#*/}" dev "$BRIDGE"
	ip link set "$BRIDGE" up
	local number
	for number in $(node_numbers); do node_network_up "$number"; done
}

network_down() {
	local number
	for number in $(seq 1 26); do node_network_down "$number"; done
	ip link delete "$BRIDGE" 2>/dev/null || true
	# "ip netns add" has mounted this folder over itself.
	[[ -n $(ls -A /run/netns 2>/dev/null) ]] || umount /run/netns 2>/dev/null || true
	rmdir /run/netns 2>/dev/null || true
	[[ ! -f $RUN/ip_forward ]] || cat "$RUN/ip_forward" >/proc/sys/net/ipv4/ip_forward
}

node_network_up() {
	local number=$1 namespace link other
	namespace=$(node_namespace "$number")
	link=$(node_link "$number")
	ip netns add "$namespace"
	ip link add "$link" type veth peer name eth0 netns "$namespace"
	ip link set "$link" master "$BRIDGE" up
	ip -n "$namespace" -batch - <<-BATCH
		link set lo up
		address add $(node_address "$number")/${NODE_NETWORK#*/} dev eth0
		link set eth0 up
		route add default via $HOST_ADDRESS
	BATCH
	for other in $(node_numbers); do
		[[ $other == "$number" ]] || ip -n "$namespace" route add "$(node_pods "$other")" via "$(node_address "$other")"
	done
	# The host's packets to Services pass a node and leave it by the link they came on: no redirects.
	nsenter "--net=/run/netns/$namespace" sh -c 'cd /proc/sys/net/ipv4 && echo 1 >ip_forward &&
		echo 0 >conf/all/send_redirects && echo 0 >conf/eth0/send_redirects'
	ip route replace "$(node_pods "$number")" via "$(node_address "$number")" dev "$BRIDGE"
}

node_network_down() {
	local namespace
	namespace=$(node_namespace "$1")
	[[ -e /run/netns/$namespace ]] && ip netns delete "$namespace"
	ip link delete "$(node_link "$1")" 2>/dev/null || true
}

link_is_up() { [[ $(cat "/sys/class/net/$(node_link "$1")/operstate" 2>/dev/null) == up ]]; }

carries_services() { link_is_up "$1" && process_runs "$(node_name "$1")-kube-proxy"; }

# route_services sends the host's packets for Services through a live node, and stays with the one it
# has: connections through it go on.
route_services() {
	local number current
	current=$(ip route show "$SERVICE_NETWORK")
	for number in $(node_numbers); do
		[[ $current != *"via $(node_address "$number") "* ]] || ! carries_services "$number" || return 0
	done
	for number in $(node_numbers); do
		carries_services "$number" || continue
		ip route replace "$SERVICE_NETWORK" via "$(node_address "$number")" dev "$BRIDGE"
		return
	done
	ip route delete "$SERVICE_NETWORK" 2>/dev/null || true
}

# dns_answers asks by the Service, as pods do: it proves the route, kube-proxy and CoreDNS.
# (No name with a label of ten characters: bash would send the packet in two at the length, a newline.)
dns_answers() {
	local answers
	exec 8<>"/dev/udp/$DNS_SERVICE_ADDRESS/53"
	printf '\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x08kube-dns\x0bkube-system\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01' >&8
	answers=$(timeout 1 dd bs=512 count=1 <&8 2>/dev/null | od -An -tu1 -j7 -N1)
	exec 8>&-
	((${answers:-0} == 1))
}
