# Names, addresses and folders of the local cluster: the one place to change them.

LOCAL_FOLDER=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

KUBERNETES_VERSION=v1.34.4
HELM_VERSION=v3.19.5
NODES=${NODES:-3}

# The cache outlives clusters and checkouts; state and run end with the cluster.
CACHE=${HERDSMAN_CACHE:-/var/cache/herdsman}
STATE=${HERDSMAN_STATE:-/var/lib/herdsman-local}
RUN=/run/herdsman-local
LOGS=$STATE/logs
VOLUMES=$STATE/volumes
PKI=$STATE/pki
KUBECONFIG_ADMIN=$STATE/kubeconfig
AUDIT_LOG=$LOGS/audit.log
CGROUP=herdsman

BRIDGE=herdsman0
HOST_ADDRESS=172.30.0.1
NODE_NETWORK=172.30.0.0/24
POD_NETWORK=10.244.0.0/16
SERVICE_NETWORK=10.96.0.0/16
KUBERNETES_SERVICE_ADDRESS=10.96.0.1
DNS_SERVICE_ADDRESS=10.96.0.10
APISERVER_PORT=6443
METRICS_PORT=4443
ETCD_PORT=23790
PAUSE_IMAGE=herdsman.dev/pause:1

# Node number 1 is node-a in zone-a with 172.30.0.11 and 10.244.1.0/24.
node_letter() { printf "\\x$(printf '%x' $((96 + $1)))"; }
node_name() { printf 'node-%s' "$(node_letter "$1")"; }
node_zone() { printf 'zone-%s' "$(node_letter "$1")"; }
node_address() { printf '172.30.0.%d' $((10 + $1)); }
node_pods() { printf '10.244.%d.0/24' "$1"; }
node_namespace() { printf 'herdsman-%s' "$(node_name "$1")"; }
node_link() { printf 'herdsman-%s' "$(node_letter "$1")"; }

# node_numbers lists the numbers of all nodes of the cluster that is there, or will be.
node_numbers() {
	local count=$NODES
	[[ -f $STATE/nodes ]] && count=$(<"$STATE/nodes")
	seq 1 "$count"
}

# node_number NAME prints the number of a node, or explains which there are.
node_number() {
	local number
	for number in $(node_numbers); do
		[[ $(node_name "$number") == "$1" ]] && echo "$number" && return
	done
	fail "there is no node '$1'; there are: $(for number in $(node_numbers); do node_name "$number"; echo -n ' '; done)"
}
