# shellcheck shell=bash disable=SC2034
# suite.sh -- the suite's processes for shell tests, and TAP. Sourced.
#
# suite_start: all four on free ports of 127.0.0.1; their addresses are in $simulator, $limiter,
# $router and $analyzer. What was started is stopped when the script ends, whichever way, and must
# end well.

bin=${PRISM_BIN:-out/release/bin}
folder=$(mktemp -d "${PRISM_OUT:-out/release}/scenario.XXXXXX")
pids=()
cases=0
failed=0

export AWS_ACCESS_KEY_ID=AKIDSIMULATOR AWS_SECRET_ACCESS_KEY=simulator-secret
unset AWS_SESSION_TOKEN AWS_BEARER_TOKEN_BEDROCK

suite_stop() {
    local i
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null
        wait "${pids[i]}" || { echo "# process ${pids[i]} ended with $?"; failed=$((failed + 1)); }
    done
    pids=()
}

finish() {
    suite_stop
    if [ "$failed" -eq 0 ]; then
        rm -rf "$folder"
    else
        echo "# logs are kept in $folder"
        exit 1
    fi
}
trap finish EXIT

# start NAME FLAG...: the address it serves at is in $address. $program: instead of prism-NAME. A
# name is its files' in $folder.
start() {
    local name=$1 i
    shift
    rm -f "$folder/$name.ready"
    "${program:-$bin/prism-$name}" --listen=127.0.0.1:0 --admin=127.0.0.1:0 --drain=2s \
        --ready-file="$folder/$name.ready" "$@" >"$folder/$name.log" 2>&1 &
    pids+=($!)
    for ((i = 0; i < 600; i++)); do
        [ -s "$folder/$name.ready" ] && break
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.05
    done
    if [ ! -s "$folder/$name.ready" ]; then
        sed 's/^/# /' "$folder/$name.log"
        echo "Bail out! prism-$name does not start"
        failed=1
        exit 1
    fi
    address=127.0.0.1:$(sed -nE 's/^(grpc|http)=//p' "$folder/$name.ready")
}

suite_start() {
    mkdir "$folder/state"
    start simulator --speed=20
    simulator=$address
    start limiter --assume-new-store
    limiter=$address
    start router --bedrock-endpoint="http://$simulator" --limiter="$limiter" --ledger=
    router=$address
    start analyzer --router="$router" --state-dir="$folder/state"
    analyzer=$address
}

# ok NAME COMMAND...: one case; what the command says is shown when it fails.
ok() {
    local name=$1
    shift
    cases=$((cases + 1))
    if "$@" >"$folder/said" 2>&1; then
        echo "ok $cases - $name"
    else
        failed=$((failed + 1))
        echo "not ok $cases - $name"
        tail -n 40 "$folder/said" | sed 's/^/# /'
    fi
}

plan() {
    echo "1..$cases"
    [ "$failed" -eq 0 ]
}
