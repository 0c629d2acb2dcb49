#!/bin/bash
# Builds the Go programs of the tests into out/clients/go/bin: stubs from proto/, with the generators,
# libraries and gRPC's interop client that go.mod pins. Says nothing when all is there.
#
# Usage: tests/clients/go/build.sh      exits 1 and says why when it cannot
set -eu
cd "$(dirname "$0")/../../.."

root=$PWD
dir=$root/out/clients/go
go=$root/out/tools/venv/go/bin/go
mkdir -p "$dir/bin"
exec 9>"$dir/lock"
flock 9

inputs=$(find tests/clients/go proto -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)
[ "$inputs" != "$(cat "$dir/stamp" 2>/dev/null)" ] || exit 0

build/tools.sh go

# Most of what a build leaves behind is Go's own library in pieces.
trap 'rm -rf "$dir/cache"' EXIT
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS='-modcacherw -trimpath -mod=readonly' GOBIN=$dir/bin
export GOPATH=$dir/cache/path GOMODCACHE=$dir/cache/mod GOCACHE=$dir/cache/build

rm -rf "$dir/src"
cp -r tests/clients/go "$dir/src"
cd "$dir/src"
"$go" install -ldflags='-s -w' tool ./interop_server
mv "$dir/bin/client" "$dir/bin/interop_client"

# Import paths are ours to choose; the protos name none.
mapfile -t protos < <(cd "$root/proto" && find prism -name '*.proto')
options=module=prism.test/clients
for proto in "${protos[@]}"; do
    options="$options,M$proto=prism.test/clients/$(dirname "$proto")"
done
PATH=$dir/bin:$PATH protoc -I"$root/proto" -I"$root/proto/third_party" \
    --go_out=. --go_opt="$options" --go-grpc_out=. --go-grpc_opt="$options" "${protos[@]}"
"$go" install -ldflags='-s -w' ./client
echo "$inputs" >"$dir/stamp"
