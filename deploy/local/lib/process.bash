# Processes of the cluster. Each runs in a control group of the cluster's own, so whatever it
# started can be found and ended with it, by membership, without knowing any name.

# hierarchies lists the roots of the control group file systems (one with cgroup v2, or one more beside v1).
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts; }

# membership_root is the hierarchy that tells which process belongs to which group.
membership_root() { [[ -d /sys/fs/cgroup/pids ]] && echo /sys/fs/cgroup/pids || echo /sys/fs/cgroup; }

make_group() {
	local root
	for root in $(hierarchies); do
		mkdir -p "$root/$CGROUP/$1"
	done
}

# start_process GROUP NAMESPACE NAME COMMAND… starts a process that outlives the caller ("-": the host's network).
start_process() {
	local group=$1 namespace=$2 name=$3 enter=()
	shift 3
	[[ $namespace == - ]] || enter=(nsenter "--net=/run/netns/$namespace")
	mkdir -p "$LOGS" "$RUN/pids"
	make_group "$group"
	(
		echo "$BASHPID" >"$(membership_root)/$CGROUP/$group/cgroup.procs"
		for descriptor in /proc/self/fd/*; do
			descriptor=${descriptor##*/}
			((descriptor <= 2)) || eval "exec $descriptor>&-"
		done
		cd /
		# Memory is cheaper than time here: by default collecting garbage is two fifths of the API server's work.
		export GOGC=400
		exec setsid "${enter[@]}" "$@"
	) </dev/null >>"$LOGS/$name.log" 2>&1 &
	echo "$! $1" >"$RUN/pids/$name"
}

# process_runs NAME tells whether the process of that pid file lives and is still that program.
process_runs() {
	local pid program
	[[ -f $RUN/pids/$1 ]] || return 1
	read -r pid program <"$RUN/pids/$1"
	[[ -r /proc/$pid/cmdline ]] || return 1
	tr '\0' '\n' <"/proc/$pid/cmdline" | head -1 | grep -qxF "$program"
}

stop_process() {
	local pid
	process_runs "$1" || return 0
	read -r pid _ <"$RUN/pids/$1"
	kill -KILL "$pid" 2>/dev/null || true
	rm -f "$RUN/pids/$1"
}

group_processes() { find "$(membership_root)/$CGROUP/$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true; }

# kill_group GROUP ends every process in the group at once, and removes the group.
kill_group() {
	local pids root state deadline=$((SECONDS + 20))
	# A frozen process takes no signal.
	for state in $(find "/sys/fs/cgroup/freezer/$CGROUP/$1" -name freezer.state 2>/dev/null || true); do
		echo THAWED >"$state" 2>/dev/null || true
	done
	while pids=$(group_processes "$1") && [[ -n $pids ]]; do
		((SECONDS < deadline)) || fail "these processes do not end: $(tr '\n' ' ' <<<"$pids")"
		# shellcheck disable=SC2086 # one argument for each process
		kill -KILL $pids 2>/dev/null || true
		sleep 0.05
	done
	for root in $(hierarchies); do
		remove_group "$root/$CGROUP/$1"
	done
}

remove_group() {
	local attempt
	for attempt in 1 2 3 4 5 6 7 8 9 10; do
		[[ -d $1 ]] || return 0
		find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
	done
	[[ ! -d $1 ]] || say "could not remove the control group $1 (attempt $attempt)"
}

# unmount_below FOLDER… takes away every mount in these folders, the last made first.
unmount_below() {
	local folder target
	for folder in "$@"; do
		awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | tac | while read -r target; do
			umount -l "$target" 2>/dev/null || true
		done
	done
}
