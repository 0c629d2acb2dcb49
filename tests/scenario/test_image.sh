#!/bin/bash
# Builds the image without a registry and looks into it: the base image is made from Debian's packages
# under the name that build/Dockerfile asks for. Speaks TAP. As root; needs buildah and mmdebstrap. The
# image holds the release build whatever is being checked, so other flavors leave it out.
set -u
cd "$(dirname "$0")/../.." || exit 1

skip() {
    echo "1..1"
    echo "ok 1 # SKIP the image: $*"
    exit 0
}
[ "$(basename "${PRISM_OUT:-out/release}")" = release ] || skip "it is checked with the release build"
[ "$(id -u)" -eq 0 ] || skip "must run as root (chroot)"
for tool in buildah mmdebstrap; do
    command -v $tool >/dev/null || skip "needs $tool"
done
unshare --mount true 2>/dev/null || skip "nothing may be mounted here"

folder=$PWD/out/image
mkdir -p "$folder"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' "$folder" "$folder" \
    >"$folder/storage.conf"
export CONTAINERS_STORAGE_CONF=$folder/storage.conf BUILDAH_ISOLATION=chroot
export BUILDER=buildah IMAGE=localhost/ai-prism:check
base=localhost/debian:bookworm-slim

# The machine's own package sources, so that mirrors and security updates are the same.
make_base() {
    local sources=() file container
    buildah images -q $base >/dev/null 2>&1 && return
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        [ ! -s "$file" ] || sources+=("$file")
    done
    mmdebstrap --quiet --variant=minbase bookworm "$folder/base.tar" "${sources[@]}" &&
        container=$(buildah from scratch) &&
        buildah add -q "$container" "$folder/base.tar" / &&
        buildah commit -q --rm "$container" $base
    local code=$?
    rm -f "$folder/base.tar"
    return $code
}

cases=0 failed=0
ok() {
    local name=$1 begin=$SECONDS
    shift
    cases=$((cases + 1))
    if "$@" >"$folder/log" 2>&1; then
        echo "ok $cases - $name ($((SECONDS - begin)) s)"
    else
        failed=1
        echo "not ok $cases - $name"
        tail -n 40 "$folder/log" | sed 's/^/# /'
    fi
}

inside() { buildah run "$container" -- "$@"; }
all_say_help() {
    local program
    for program in prism-analyzer prism-router prism-limiter prism-simulator prismctl; do
        inside $program --help | grep -q '^Usage: ' && inside $program --version || return 1
    done
}
# The process behind buildah's own.
innermost() {
    local pid=$1 child
    while child=$(pgrep -P "$pid"); do
        pid=$child
    done
    echo "$pid"
}
# What --help does not need: libraries load, ports open, threads start and end.
serves() {
    local code i pid
    inside prism-limiter --listen=127.0.0.1:0 --admin=127.0.0.1:0 --ready-file=/tmp/ready &
    pid=$!
    for ((i = 0; i < 200; i++)); do
        [ -s "$mount/tmp/ready" ] && break
        sleep 0.1
    done
    curl -fsS "127.0.0.1:$(sed -n 's/^admin=//p' "$mount/tmp/ready")/readyz"
    code=$?
    kill -TERM "$(innermost $pid)"
    wait $pid || code=1
    return $code
}
is_labelled() {
    buildah inspect --type image --format '{{.OCIv1.Config}}' $IMAGE >"$folder/config" &&
        grep -F 65532:65532 "$folder/config" && grep -F "org.opencontainers.image.revision:$(git rev-parse HEAD)" "$folder/config"
}
has_no_shell() { [ ! -e "$mount/bin" ] && [ ! -e "$mount/usr/bin" ] && [ ! -e "$mount/usr/sbin" ]; }

ok "a base image from packages" make_base
ok "the image" build/image --pull-never
container=$(buildah from --pull-never $IMAGE) && mount=$(buildah mount "$container") || exit 1
trap 'buildah rm "$container" >/dev/null' EXIT
ok "every program runs" all_say_help
ok "a service serves" serves
ok "labels and user" is_labelled
ok "no shell, no package manager" has_no_shell
echo "# $(du -sm "$mount" | cut -f1) MB, $(find "$mount/var/lib/dpkg/status.d" -type f | wc -l) packages"
echo "1..$cases"
[ $failed -eq 0 ]
