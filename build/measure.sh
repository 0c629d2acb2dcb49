# What build/bench and build/bench-router share: the four services on free ports of 127.0.0.1, with
# limits that never refuse and a simulator that answers at once, measured with prismctl bench into
# $dir/results, and the words of their tables. To be read by bash scripts.
#
# ROUNDS=5 interleaved rounds measure each thing once, for SPAN=1200ms after a warm-up. A call that
# fails, or whose answer is not complete, fails it all.
# shellcheck shell=bash

ROUNDS=${ROUNDS:-5}
SPAN=${SPAN:-1200ms}
UPSTREAM=simulator
# shellcheck source=build/processes.sh
. "$ROOT/build/processes.sh"

export AWS_ACCESS_KEY_ID=AKIDSIMULATOR AWS_SECRET_ACCESS_KEY=simulator-secret
unset AWS_SESSION_TOKEN AWS_BEARER_TOKEN_BEDROCK

MORE_OPTIONS[simulator]="--instant --max-connections 20000"
MORE_OPTIONS[limiter]="--suite-requests 100000000 --suite-concurrency 0 --suite-tokens 1000000000000
    --records 4194304"
MORE_OPTIONS[router]="--max-connections 10000 --max-inflight 10000 --stall-wait 10m"
MORE_OPTIONS[analyzer]="--tasks-most 1000000 --tenant-tasks-most 1000000"

python_pid=
end() {
    trap '' INT TERM HUP
    [ -z "$python_pid" ] || kill "$python_pid" 2>/dev/null
    stop "$dir"
    [ "$1" -eq 0 ] && rm -rf "$dir" || echo "logs are in $dir" >&2
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/prism-bench.XXXXXX") || die "there is no room for a directory"
trap 'end $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- services --------------------------------------------------------------------------------------

# Anew, with what it stored gone.
restart() {
    stop_one "$1" "$dir"
    [ "$1" != analyzer ] || rm -rf "$dir/state"
    start "$1" "$bin" "$dir" "$BASE"
}

await_all() {
    wait_ready "$dir" || exit 1
}

# A plan of faults for the simulator; none ends the one before.
set_faults() {
    exec 3<>"/dev/tcp/127.0.0.1/$(port simulator "$BASE")" || die "the simulator is gone"
    printf 'PUT /simulator/faults HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
        ${#1} "$1" >&3
    grep -q '^HTTP/1.1 200' <&3 || die "the simulator does not take a plan of faults"
    exec 3>&-
}

no_faults='rules: []
'
stall_headers='rules:
  - {action: stall, at: headers, for: 10m}
'
# The first stream is there to warm up.
stall_events='rules:
  - {action: stall, from: 2, at: events, after: 3, for: %s}
'

# --- measuring -------------------------------------------------------------------------------------

# measure NAME SERVICE,... ARG...: the lines of prismctl bench behind NAME, into the results.
measure() {
    local name=$1 processes='' service
    for service in ${2//,/ }; do
        if [ "$service" = python ]; then
            processes+=,python=$python_pid
        else
            processes+=,$service=$(pid_of "$dir/$service.pid")
        fi
    done
    shift 2
    "${CLI[@]}" -o text --processes "${processes#,}" --warmup 300ms --duration "$SPAN" bench "$@" >"$dir/one" ||
        { cat "$dir/one" >&2; die "prismctl bench $* had errors"; }
    sed "s/^/$name /" "$dir/one" >>"$dir/results"
    printf . >&2
}

# From the start of the router's process until its port is served, and on to the end of a first
# call, its connection included; and the memory of a router that did nothing else.
measure_start() {
    stop_one router "$dir"
    local from=${EPOCHREALTIME/./} first
    start router "$bin" "$dir" "$BASE"
    until [ -s "$dir/router.ready" ]; do sleep 0.001; done
    local ready=$((${EPOCHREALTIME/./} - from))
    first=$("${CLI[@]}" -o text --duration 0s bench router | sed -n 's/^first_us \([0-9]*\).*/\1/p')
    {
        echo "start ready_us $ready"
        echo "start first_us $((ready + first))"
        awk '/^VmRSS/ { print "start rss_kib", $2 }' "/proc/$(pid_of "$dir/router.pid")/status"
    } >>"$dir/results"
}

# --- the tables ------------------------------------------------------------------------------------

# The median of what follows a name and a key in the results: median NAME KEY [DIVISOR [FORMAT]]. With
# a fifth argument also "(least..most)". "NAME - NAME": of their differences, round by round.
median() {
    awk -v name="$1" -v key="$2" -v by="${3:-1}" -v format="${4:-%.0f}" -v spread="${5:-}" '
        BEGIN { two = split(name, names, " - ") == 2 }
        $1 == names[1] && $2 == key { v[++n] += $3 / by }
        two && $1 == names[2] && $2 == key { v[++m] -= $3 / by }
        END {
            if (n == 0) { print "-"; exit }
            for (i = 2; i <= n; i++) { x = v[i]; for (j = i - 1; j > 0 && v[j] > x; j--) v[j + 1] = v[j]; v[j + 1] = x }
            middle = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
            if (spread == "") printf format "\n", middle
            else printf format " (" format ".." format ")\n", middle, v[1], v[n]
        }' "$dir/results"
}
spread() { median "$1" "$2" "${3:-1}" "${4:-%.0f}" yes; }

calls_row() {
    printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "${4:-${2##*-}}" "$(spread "$2" per_second)" \
        "$(spread "$2" p50_us 1000 %.2f)" "$(spread "$2" p99_us 1000 %.2f)" "$3"
}

# The middle of what a call costs each service: cpu NAME SERVICE...
cpu() {
    local service text=
    for service in $2; do
        text+=", $service $(median "$1" "cpu_us.$service")"
    done
    echo "${text#, }"
}

machine() {
    printf '%s cores, %s, %s GiB, Linux %s' "$(nproc)" \
        "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
        "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$(uname -r | cut -d- -f1)"
}

preface() {
    echo "$(machine). Medians of $ROUNDS interleaved rounds of $SPAN each, behind them least..most;"
    echo "generator, services and simulator share the machine. Load average at the end: $(cut -d' ' -f1 /proc/loadavg)."
    echo
}

failures() {
    echo "Calls that failed or whose answer was not complete: $(awk '$2 == "errors" { n += $3 } END { print n + 0 }' \
        "$dir/results") of $(awk '$2 == "calls" { n += $3 } END { print n }' "$dir/results") measured."
}

# --- held streams ----------------------------------------------------------------------------------

# measure_streams N SECONDS: so many streams, each held that long in the middle of its answer.
measure_streams() {
    local n=$1
    restart router
    await_all
    # shellcheck disable=SC2059
    set_faults "$(printf "$stall_events" "$2s")"
    measure "streams-$n" router,simulator streams --callers "$n"
    set_faults "$no_faults"
}

streams_table() {
    local n
    echo '| held streams | lost | opened in s | KiB a stream, router | RSS of the router MiB |'
    echo '|--:|--:|--:|--:|---|'
    for n in "$@"; do
        printf '| %s | %s | %s | %s | %s before, %s held |\n' "$n" "$(median "streams-$n" errors)" \
            "$(median "streams-$n" opened_ms 1000 %.1f)" "$(median "streams-$n" kib_per_stream.router 1 %.1f)" \
            "$(median "streams-$n" rss_kib_before.router 1024)" "$(median "streams-$n" rss_kib_held.router 1024)"
    done
}
