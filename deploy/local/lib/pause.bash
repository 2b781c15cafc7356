# The image that holds a pod's namespaces, as a docker-archive made by hand: one layer with one file.

pause_archive() { echo "$CACHE/images/pause-$(sha256sum <"$(readlink -f "$CACHE/bin/pause")" | cut -c1-16).tar"; }

build_pause_image() {
	local archive folder
	archive=$(pause_archive)
	[[ -f $archive ]] && return
	mkdir -p "$CACHE/images"
	say 'building the pause image'
	rm -rf "$CACHE/images"/pause.??????
	folder=$(mktemp -d "$CACHE/images/pause.XXXXXX")
	install -m 755 "$(readlink -f "$CACHE/bin/pause")" "$folder/pause"
	(
		cd "$folder"
		tar --create --file layer.tar --owner 0 --group 0 --mtime @0 --sort name pause
		jq -cn --arg architecture "$(go env GOARCH)" --arg layer "sha256:$(sha256sum <layer.tar | cut -d' ' -f1)" '{
			architecture: $architecture, os: "linux", created: "1970-01-01T00:00:00Z",
			config: {Entrypoint: ["/pause"], User: "65535:65535"},
			rootfs: {type: "layers", diff_ids: [$layer]}}' >config.json
		jq -cn --arg image "$PAUSE_IMAGE" '[{Config: "config.json", RepoTags: [$image], Layers: ["layer.tar"]}]' >manifest.json
		tar --create --file archive.tar manifest.json config.json layer.tar
	)
	mv "$folder/archive.tar" "$archive"
	rm -rf "$folder"
}
