# Programs that are compiled once per version of their sources, and kept in the cache.

# sources_key FOLDER EXTRA… hashes what a build depends on.
sources_key() {
	local folder=$1
	shift
	{
		(cd "$folder" && find . -type f \( -name '*.go' -o -name go.mod -o -name go.sum \) -print0 | sort -z | xargs -0 sha256sum)
		go env GOVERSION GOARCH
		echo "$@"
	} | sha256sum | cut -c1-16
}

kubernetes_flags() {
	local version=${KUBERNETES_VERSION#v} package=k8s.io/component-base/version
	echo "-s -w -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*} -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
}

# keep_build NAME KEY COMMAND… runs the command in an empty folder of the cache unless it once succeeded.
keep_build() {
	local name=$1 key=$2 folder=$CACHE/build/$1-$2
	shift 2
	[[ -f $folder/complete ]] && return
	say "building $name (kept in $CACHE; takes minutes the first time)"
	rm -rf "$folder"
	mkdir -p "$folder"
	(cd "$folder" && "$@") || fail "$name could not be built"
	touch "$folder/complete"
	find "$CACHE/build" -maxdepth 1 -name "$name-*" -mtime +14 -exec rm -rf {} +
	say "built $name"
}

build_kubernetes() {
	local folder=$PWD name
	(cd "$LOCAL_FOLDER/kubernetes" && CGO_ENABLED=0 go build -trimpath -ldflags "$(kubernetes_flags)" -o "$folder/kubernetes" .) || return
	for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do ln -s kubernetes "$name"; done
}

build_addons() {
	local folder=$PWD name
	(cd "$LOCAL_FOLDER/addons" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$folder/addons" . &&
		CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$folder/pause" ./pause) || return
	for name in coredns metrics-server volume-provisioner forget-containers; do ln -s addons "$name"; done
}

build_helm() {
	CGO_ENABLED=0 GOBIN=$PWD go install -trimpath -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=$HELM_VERSION" "helm.sh/helm/v3/cmd/helm@$HELM_VERSION"
}

# builds lists NAME KEY of everything that is compiled here.
builds() {
	echo "kubernetes $(sources_key "$LOCAL_FOLDER/kubernetes" "$(kubernetes_flags)")"
	echo "addons $(sources_key "$LOCAL_FOLDER/addons")"
	echo "helm $HELM_VERSION-$(go env GOVERSION)"
}

# build_programs compiles what is missing and lets $CACHE/bin hold links to all of it.
build_programs() {
	local name key link
	mkdir -p "$CACHE/bin"
	while read -r name key; do
		keep_build "$name" "$key" "build_$name"
		for link in "$CACHE/build/$name-$key"/*; do
			[[ $link == */complete ]] || ln -sfn "$link" "$CACHE/bin/${link##*/}"
		done
	done < <(builds)
}
