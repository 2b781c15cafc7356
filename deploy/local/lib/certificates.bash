# A certificate authority for the cluster, and the certificates and kubeconfigs of its parts.

make_authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$2" \
		-addext keyUsage=critical,keyCertSign,digitalSignature -keyout "$PKI/$1.key" -out "$PKI/$1.crt" 2>/dev/null
}

# issue NAME SUBJECT [ADDRESSES [AUTHORITY]] makes NAME.key and NAME.crt.
issue() {
	local name=$1 subject=$2 addresses=${3:-} authority=${4:-ca}
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$subject" \
		-keyout "$PKI/$name.key" -out "$PKI/$name.csr" 2>/dev/null
	openssl x509 -req -in "$PKI/$name.csr" -CA "$PKI/$authority.crt" -CAkey "$PKI/$authority.key" \
		-set_serial "0x$(openssl rand -hex 8)" -days 3650 -out "$PKI/$name.crt" 2>/dev/null -extfile <(
			echo 'keyUsage=critical,digitalSignature'
			echo 'extendedKeyUsage=serverAuth,clientAuth'
			[[ -z $addresses ]] || echo "subjectAltName=$addresses"
		)
	rm "$PKI/$name.csr"
}

# write_kubeconfig NAME makes the kubeconfig by which a part of the cluster reaches the API server.
write_kubeconfig() {
	cat >"$PKI/$1.kubeconfig" <<-YAML
		apiVersion: v1
		kind: Config
		current-context: herdsman-local
		contexts: [{name: herdsman-local, context: {cluster: herdsman-local, user: $1}}]
		clusters:
		- name: herdsman-local
		  cluster:
		    server: https://$HOST_ADDRESS:$APISERVER_PORT
		    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
		users:
		- name: $1
		  user:
		    client-certificate-data: $(base64 -w0 "$PKI/$1.crt")
		    client-key-data: $(base64 -w0 "$PKI/$1.key")
	YAML
}

issue_client() {
	issue "$@"
	write_kubeconfig "$1"
}

make_certificates() {
	local number
	mkdir -p "$PKI"
	chmod 700 "$PKI"
	make_authority ca herdsman-local
	make_authority front-proxy-ca herdsman-local-front-proxy
	openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/service-accounts.key"
	issue apiserver /CN=kube-apiserver "IP:$HOST_ADDRESS,IP:$KUBERNETES_SERVICE_ADDRESS,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
	issue apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet
	issue front-proxy /CN=front-proxy '' front-proxy-ca
	issue_client admin /O=system:masters/CN=admin
	issue_client kube-controller-manager /CN=system:kube-controller-manager
	issue_client kube-scheduler /CN=system:kube-scheduler
	issue_client kube-proxy /CN=system:kube-proxy
	issue_client coredns /CN=system:coredns
	issue_client metrics-server /CN=system:metrics-server "IP:$HOST_ADDRESS,DNS:metrics-server.kube-system.svc"
	issue_client volume-provisioner /CN=system:volume-provisioner
	for number in $(node_numbers); do
		issue_client "$(node_name "$number")" "/O=system:nodes/CN=system:node:$(node_name "$number")" \
			"IP:$(node_address "$number"),DNS:$(node_name "$number")"
	done
	install -m 600 "$PKI/admin.kubeconfig" "$KUBECONFIG_ADMIN"
}
