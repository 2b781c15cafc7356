# Debian packages: the container runtime, etcd, and what builds images.

PACKAGES=(containerd runc containernetworking-plugins iptables conntrack ethtool socat etcd-server etcd-client
	buildah debootstrap iproute2 jq openssl curl ca-certificates procps util-linux)

# Debian's maintainer scripts ask it whether they may start services.
POLICY=/usr/sbin/policy-rc.d

# without_services COMMAND… keeps packages that it installs from starting their services: the cluster starts its own processes.
without_services() (
	mark='# by Herdsman, while it installs packages'
	# One that was killed meanwhile has left its own behind; another is the user's.
	if [[ ! -e $POLICY ]] || grep -qxF "$mark" "$POLICY"; then
		trap 'rm -f "$POLICY"' EXIT
		printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$POLICY"
		chmod +x "$POLICY"
	fi
	"$@"
)

apt_install() {
	apt-get -o DPkg::Lock::Timeout=600 update -q >&2
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -yq --no-install-recommends "$@" >&2
}

install_packages() {
	local missing=() package
	local installed
	installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null | awk '$1 == "ii" { print $2 }' || true)
	for package in "${PACKAGES[@]}"; do
		grep -qx "$package" <<<"$installed" || missing+=("$package")
	done
	if ((${#missing[@]} > 0)); then
		say "installing ${missing[*]}"
		without_services apt_install "${missing[@]}"
	fi
	command -v go >/dev/null || fail 'Go is missing: install it (https://go.dev/dl), version 1.24 or newer'
}
