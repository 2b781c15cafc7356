# Images: docker-archives that go into every node's containerd. A node's images are kept in the
# cache when the cluster ends, so an archive is read again only when its content has changed.

# archive_tags FILE lists the names of the images in a docker-archive.
archive_tags() { tar -xOf "$1" manifest.json | jq -r '.[].RepoTags[]'; }

# archive_key FILE identifies the content: the image configurations name every layer by its digest.
archive_key() {
	local manifest configs hostless
	manifest=$(tar -xOf "$1" manifest.json) || fail "$1 is no docker-archive"
	# containerd would store a name without a host under another name than the archive says.
	hostless=$(jq -r '[.[].RepoTags[] | select(test("^([^/]*[.:][^/]*|localhost)/") | not)] | first // ""' <<<"$manifest")
	[[ -z $hostless ]] || fail "$1: name this image localhost/$hostless"
	mapfile -t configs < <(jq -r '.[].Config' <<<"$manifest")
	{ jq -c '[.[].RepoTags]' <<<"$manifest"; tar -xOf "$1" "${configs[@]}"; } | sha256sum | cut -c1-32
}

# loaded_mark NUMBER TAG is the file that says which content a node has under a name.
loaded_mark() { echo "$CACHE/nodes/$(node_name "$1")/loaded/${2//\//_}"; }

has_archive() {
	local tag
	while read -r tag; do
		[[ $(cat "$(loaded_mark "$1" "$tag")" 2>/dev/null) == "$3" ]] || return 1
		touch "$(loaded_mark "$1" "$tag")"
	done < <(archive_tags "$2")
}

# load_archive NUMBER FILE [KEY] imports an image into a node unless it has it.
load_archive() {
	local number=$1 file=$2 key=${3:-} tag
	[[ -n $key ]] || key=$(archive_key "$file")
	has_archive "$number" "$file" "$key" && return
	mkdir -p "$CACHE/nodes/$(node_name "$number")/loaded"
	while read -r tag; do rm -f "$(loaded_mark "$number" "$tag")"; done < <(archive_tags "$file")
	node_containerd "$number" images import "$file" >/dev/null
	while read -r tag; do
		node_containerd "$number" images label "$tag" io.cri-containerd.pinned=pinned >/dev/null
		echo "$key" >"$(loaded_mark "$number" "$tag")"
	done < <(archive_tags "$file")
}

# forget_old_images removes what earlier imports under the same name have left: CRI keeps a
# reference by digest to each image it ever saw, and so its layers.
forget_old_images() {
	local images old
	images=$(node_containerd "$1" images list | awk 'NR > 1 { print $1, $3 }')
	old=$(awk '$1 !~ /^sha256:/ { named[$2] = 1 } $1 ~ /^sha256:/ { digest[$1] = $2 }
		END { for (name in digest) if (!(digest[name] in named)) print name }' <<<"$images")
	# shellcheck disable=SC2086 # one argument for each image
	[[ -z $old ]] || node_containerd "$1" images remove $old >/dev/null
}

IMAGES_KEPT=3

# forget_old_tags keeps the names of each repository that were loaded last: builds name their images by content.
forget_old_tags() {
	local number=$1 name previous='' count=0 old=()
	while read -r _ name; do
		[[ ${name%:*} == "$previous" ]] || count=0
		previous=${name%:*}
		((++count > IMAGES_KEPT)) || continue
		old+=("$name")
		rm -f "$(loaded_mark "$number" "$name")"
	done < <(node_containerd "$number" images list --quiet | grep -v '^sha256:' | while read -r name; do
		echo "$(stat -c %Y "$(loaded_mark "$number" "$name")" 2>/dev/null || echo 0) $name"
	done | sort --key 1,1nr | sed 's/:\([^:]*\)$/ \1/' | sort --stable --key 2,2 | sed 's/ \([^ ]*\)$/:\1/')
	((${#old[@]} == 0)) || node_containerd "$number" images remove "${old[@]}" >/dev/null
	forget_old_images "$number"
}
