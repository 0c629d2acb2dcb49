#!/bin/bash
# prismctl bench against the suite: each kind of call measured for a moment, at a rate too, with
# streams held open; and what fails is counted.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

mkdir "$folder/state"
start simulator --instant
simulator=$address
start limiter --assume-new-store --suite-requests=0 --suite-concurrency=0 --suite-tokens=0
limiter=$address
start router --bedrock-endpoint="http://$simulator" --limiter="$limiter" --ledger=
router=$address
router_pid=${pids[-1]}
start analyzer --router="$router" --state-dir="$folder/state"
analyzer=$address

bench() {
    "$bin/prismctl" --analyzer "$analyzer" --router "$router" --limiter "$limiter" \
        --endpoint "http://$simulator" -o text --warmup 50ms --duration 300ms --callers 3 \
        --processes "router=$router_pid" bench "$@" >"$folder/out"
    local code=$?
    cat "$folder/out"
    return $code
}
# figure NAME: of the last bench.
figure() { sed -n "s/^$1 //p" "$folder/out"; }
is() { awk -v a="$(figure "$1")" -v b="$3" "BEGIN { exit !(a != \"\" && a + 0 $2 b + 0) }"; }

measures() {
    bench "$@" && is errors == 0 && is calls '>' 0 && is per_second '>' 0 && is p50_us '>' 0 &&
        is p99_us '>=' "$(figure p50_us)" && is max_us '>=' "$(figure p99_us)" && is rss_kib.router '>' 1000
}
keeps_rate() {
    bench echo --rate 200 --duration 1s && is errors == 0 && is behind == 0 && is calls '>' 100 && is calls '<' 300
}
falls_behind() {
    bench echo --rate 1000000 --callers 1 && is behind '>' 0
}
calls_once() {
    bench router --duration 0s && is errors == 0 && is first_us '>' 0 && [ -z "$(figure calls)" ]
}
holds_streams() {
    printf '%s\n' 'rules:' '  - {action: stall, from: 2, at: events, after: 3, for: 3s}' |
        curl -sSf -T - "http://$simulator/simulator/faults" || return
    bench streams --callers 50 && is together == 50 && is completed == 50 && is errors == 0 &&
        is kib_per_stream.router '>' 1
}
notices_early_ends() {
    printf '%s\n' 'rules: []' | curl -sSf -T - "http://$simulator/simulator/faults" || return
    ! bench streams --callers 50 && is errors '>' 0
}
counts_failures() {
    ! bench router --router 127.0.0.1:1 && is errors == 1
}
refuses() {
    bench "$@"
    [ $? -eq 2 ]
}
is_json() {
    "$bin/prismctl" --limiter "$limiter" --duration 100ms bench echo | python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["bench"] == "echo" and report["errors"] == 0 and report["calls"] > 0'
}

for kind in echo router once direct direct-once limiter submit; do
    ok "measures $kind" measures $kind
done
ok "keeps a rate" keeps_rate
ok "says how far behind it is" falls_behind
ok "makes one call" calls_once
ok "holds streams open" holds_streams
ok "notices streams that do not last" notices_early_ends
ok "counts what fails" counts_failures
ok "refuses a process that does not run" refuses echo --processes nobody=4194305
ok "refuses a direct call to nowhere" refuses direct --endpoint ''
ok "reports as JSON" is_json
plan
