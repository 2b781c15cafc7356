# What runs on the host: etcd, the Kubernetes control plane, DNS, metrics and volumes.
# DNS and metrics run here because every node must have them while any other node is lost.

api() { curl -fsS --max-time 5 --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" "https://$HOST_ADDRESS:$APISERVER_PORT$1"; }

kubectl() { "$CACHE/bin/kubectl" --kubeconfig "$KUBECONFIG_ADMIN" "$@"; }

start_host_process() {
	local name=$1
	shift
	start_process control-plane - "$name" "$CACHE/bin/$name" "$@"
}

start_etcd() {
	mkdir -p "$STATE/etcd"
	chmod 700 "$STATE/etcd"
	# A cluster to throw away: nothing is flushed to the disk.
	start_process control-plane - etcd "$(command -v etcd)" \
		--name herdsman --data-dir "$STATE/etcd" --unsafe-no-fsync --snapshot-count 10000 --log-level warn \
		--listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
		--listen-peer-urls "http://127.0.0.1:$((ETCD_PORT + 1))" \
		--initial-advertise-peer-urls "http://127.0.0.1:$((ETCD_PORT + 1))" \
		--initial-cluster "herdsman=http://127.0.0.1:$((ETCD_PORT + 1))"
}

start_apiserver() {
	start_host_process kube-apiserver \
		--advertise-address="$HOST_ADDRESS" --bind-address="$HOST_ADDRESS" --secure-port="$APISERVER_PORT" \
		--etcd-servers="http://127.0.0.1:$ETCD_PORT" --service-cluster-ip-range="$SERVICE_NETWORK" \
		--tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
		--kubelet-client-certificate="$PKI/apiserver-kubelet.crt" --kubelet-client-key="$PKI/apiserver-kubelet.key" \
		--kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--service-account-key-file="$PKI/service-accounts.key" --service-account-signing-key-file="$PKI/service-accounts.key" \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
		--requestheader-client-ca-file="$PKI/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy \
		--requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
		--requestheader-extra-headers-prefix=X-Remote-Extra- \
		--proxy-client-cert-file="$PKI/front-proxy.crt" --proxy-client-key-file="$PKI/front-proxy.key" \
		--enable-aggregator-routing=true --profiling=false \
		--audit-policy-file="$LOCAL_FOLDER/manifests/audit-policy.yaml" --audit-log-path="$AUDIT_LOG" --audit-log-maxsize=100 --audit-log-maxbackup=1
}

# Leader election is off: there is one of each, and its renewals would be half of an idle cluster's requests.
# The grace period of nodes and the eviction of pods are those of Kubernetes.
start_controllers() {
	start_host_process kube-controller-manager \
		--kubeconfig="$PKI/kube-controller-manager.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false --profiling=false \
		--use-service-account-credentials=true --service-account-private-key-file="$PKI/service-accounts.key" \
		--root-ca-file="$PKI/ca.crt" --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
		--cluster-cidr="$POD_NETWORK" --service-cluster-ip-range="$SERVICE_NETWORK" --allocate-node-cidrs=false \
		--flex-volume-plugin-dir="$STATE/volume-plugins" \
		--kube-api-qps=100 --kube-api-burst=200
	start_host_process kube-scheduler \
		--kubeconfig="$PKI/kube-scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false --profiling=false \
		--kube-api-qps=100 --kube-api-burst=200
}

start_addons() {
	cat >"$STATE/Corefile" <<-COREFILE
		.:53 {
			bind $HOST_ADDRESS
			errors
			kubernetes cluster.local in-addr.arpa ip6.arpa {
				kubeconfig $PKI/coredns.kubeconfig
				pods insecure
				fallthrough in-addr.arpa ip6.arpa
			}
			forward . /etc/resolv.conf
			cache 30 {
				disable success cluster.local
				disable denial cluster.local
			}
			loadbalance
		}
	COREFILE
	mkdir -p "$VOLUMES"
	start_host_process coredns -conf "$STATE/Corefile"
	start_host_process volume-provisioner --kubeconfig "$PKI/volume-provisioner.kubeconfig" --root "$VOLUMES"
	start_host_process metrics-server \
		--kubeconfig="$PKI/metrics-server.kubeconfig" --authentication-kubeconfig="$PKI/metrics-server.kubeconfig" \
		--authorization-kubeconfig="$PKI/metrics-server.kubeconfig" --bind-address="$HOST_ADDRESS" --secure-port="$METRICS_PORT" \
		--tls-cert-file="$PKI/metrics-server.crt" --tls-private-key-file="$PKI/metrics-server.key" \
		--kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority="$PKI/ca.crt" --metric-resolution=15s
}

HOST_PROCESSES=(etcd kube-apiserver kube-controller-manager kube-scheduler coredns volume-provisioner metrics-server)

control_plane_is_well() {
	local name
	for name in "${HOST_PROCESSES[@]}"; do process_runs "$name" || return 1; done
	api /readyz >/dev/null 2>&1
}

# render_manifests prints what the cluster has from its first second.
render_manifests() {
	sed -e "s|@HOST_ADDRESS@|$HOST_ADDRESS|g" -e "s|@DNS_SERVICE_ADDRESS@|$DNS_SERVICE_ADDRESS|g" \
		-e "s|@METRICS_PORT@|$METRICS_PORT|g" -e "s|@CA_BUNDLE@|$(base64 -w0 "$PKI/ca.crt")|g" "$LOCAL_FOLDER"/manifests/cluster/*.yaml
}
