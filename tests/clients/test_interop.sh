#!/bin/bash
# gRPC's interoperability cases, in both directions: grpc-go's client against our rpc server, and our
# rpc client against grpc-go's server. The cases and their protos are the third-party vectors'.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

vectors=${PRISM_VECTORS:-../shared/vectors}/grpc-interop/cases.json
ours=${PRISM_OUT:-out/release}/test
theirs=out/clients/go/bin
entries=20 # of cases.json

skip() {
    cases=$((cases + 1))
    echo "ok $cases - $1 # SKIP $2"
}

skip_all() {
    sed 's/^/# /' "$folder/tools" 2>/dev/null
    skip "grpc-go's client, our server" "$1: $entries cases not run"
    skip "our client, grpc-go's server" "$1: $entries cases not run"
    plan
    exit 0
}

[ -e "$vectors" ] || skip_all "$vectors is absent"
tests/clients/go/build.sh >"$folder/tools" 2>&1 || skip_all "grpc-go not available"

# Why an entry is not run, for what neither side has.
why_not() {
    case $1 in
    *_compressed_*) echo "compression is gRPC's own here, not to be seen or set by call, and grpc-go has no such case" ;;
    cacheable_unary*) echo "needs cloud credentials, a caching proxy or a load balancer" ;;
    *) return 1 ;;
    esac
}

# In cancel_after_begin grpc-go's client cancels beside a stream that it ends: an answer that is there
# before its cancel took hold is taken, which says nothing of us. Then it is played again.
their_client() {
    local i
    for ((i = 0; i < 5; i++)); do
        timeout 60 "$theirs/interop_client" -server_host=127.0.0.1 -server_port="${our_server#*:}" \
            -test_case="$1" >"$folder/client" 2>&1 && return
        cat "$folder/client"
        [ "$1" = cancel_after_begin ] && grep -q 'got error code 0, want 1' "$folder/client" || return
    done
    return 1
}

our_client() {
    timeout 60 "$ours/interop_client" "$(cat "$folder/their_server")" "$1"
}

# An entry may name several cases: "rpc_soak / channel_soak".
play() {
    local client=$1 name
    for name in ${2//\// }; do
        echo "$name" && "$client" "$name" || return 1
    done
}

# direction NAME CLIENT: every entry of the file.
direction() {
    local name=$1 client=$2 entry why before=$cases skipped=0 broken=$failed
    failed=0
    while read -r entry; do
        if why=$(why_not "$entry"); then
            skipped=$((skipped + 1))
            skip "$name: $entry" "$why"
        else
            ok "$name: $entry" play "$client" "$entry"
        fi
    done < <(python3 -c 'import json, sys; [print(c["name"]) for c in json.load(open(sys.argv[1]))["cases"]]' "$vectors")
    echo "# $name: $((cases - before - skipped - failed)) of $((cases - before)) cases passed, $skipped skipped"
    ok "$name: there are $entries entries" [ $((cases - before)) -eq $entries ]
    failed=$((failed + broken))
}

program=$ours/interop_server start interop
our_server=$address
# Theirs does not end well when it is told to.
(
    trap 'kill $!; exit 0' TERM
    "$theirs/interop_server" "$folder/their_server" >"$folder/their_server.log" 2>&1 &
    wait
) &
pids+=($!)
for ((i = 0; i < 200; i++)); do
    [ -s "$folder/their_server" ] && break
    sleep 0.05
done

direction "grpc-go's client, our server" their_client
direction "our client, grpc-go's server" our_client
plan
