# Progress lines with the seconds since the command began.

STARTED_AT=${EPOCHREALTIME/[.,]/}

elapsed() {
	local now=${EPOCHREALTIME/[.,]/}
	local tenths=$(((now - STARTED_AT) / 100000))
	printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

say() { printf '[%5ss] %s\n' "$(elapsed)" "$*" >&2; }

fail() {
	printf '[%5ss] failed: %s\n' "$(elapsed)" "$*" >&2
	exit 1
}

# wait_until SECONDS WHAT COMMAND… runs the command until it succeeds.
wait_until() {
	local seconds=$1 what=$2
	shift 2
	local deadline=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || fail "$what: not within $seconds s"
		sleep 0.2
	done
}

# A command that fails where none may ends the script: say which.
set -o errtrace
trap 'say "failed: $BASH_COMMAND (${BASH_SOURCE[0]##*/}:$LINENO)"' ERR
