# The four services as processes of this machine, on 127.0.0.1 only. To be read by bash scripts.
#
# What they start they stop by pid, after a look at what the process is. The state of a running suite
# is in a directory: one NAME.pid ("PID PROGRAM"), NAME.log and NAME.ready each. A suite takes a block
# of ports from a base on: the base itself (analyzer) to base + 3, and those ten higher.
#
# UPSTREAM=simulator or bedrock; MORE_OPTIONS[NAME]: options of a service besides its usual ones.
# shellcheck shell=bash disable=SC2034
declare -A MORE_OPTIONS

START_S=20 # to write the ready file
DRAIN_S=2  # for calls that run when a service is told to end
STOP_S=10  # to end after SIGTERM, then SIGKILL
IN_USE=75  # a port was taken: another block may do

die() {
    echo "suite: $*" >&2
    exit 1
}

# Names of the services in the order of their start; a client starts after what it calls.
services() {
    if [ "$UPSTREAM" = simulator ]; then
        echo simulator limiter router analyzer
    else
        echo limiter router analyzer
    fi
}

# Port of a service in the block that begins at $2; its admin port is ten higher.
port() {
    case $1 in
    analyzer) echo $(($2)) ;;
    router) echo $(($2 + 1)) ;;
    limiter) echo $(($2 + 2)) ;;
    simulator) echo $(($2 + 3)) ;;
    esac
}

address() {
    echo "127.0.0.1:$(port "$1" "$2")"
}

taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The first taken port of a block; fails when all are free.
taken_port() {
    local name
    for name in $(services); do
        taken "$(port "$name" "$1")" && port "$name" "$1" && return 0
        taken "$(port "$name" $(($1 + 10)))" && port "$name" $(($1 + 10)) && return 0
    done
    return 1
}

# Options of a service: name, bin, directory, base.
options() {
    local name=$1 bin=$2 dir=$3 base=$4
    printf '%s\n' --listen "$(address "$name" "$base")" --admin "$(address "$name" $((base + 10)))" \
        --ready-file "$dir/$name.ready" --drain ${DRAIN_S}s
    case $name in
    limiter)
        # Whatever an earlier limiter granted ended with its router.
        "$bin/prism-limiter" --help | grep -q -- '--\[no-\]assume-new-store' && echo --assume-new-store
        ;;
    router)
        printf '%s\n' --limiter "$(address limiter "$base")" --ledger "$(address analyzer "$base")"
        [ "$UPSTREAM" = bedrock ] || printf '%s\n' --bedrock-endpoint "http://$(address simulator "$base")"
        ;;
    analyzer)
        mkdir -p "$dir/state"
        printf '%s\n' --router "$(address router "$base")" --state-dir "$dir/state"
        ;;
    esac
    # shellcheck disable=SC2086
    [ -z "${MORE_OPTIONS[$name]:-}" ] || printf '%s\n' ${MORE_OPTIONS[$name]}
}

# Replaces this shell by a service, in a session of its own: Ctrl-C at the terminal is for prismctl
# alone, and what `up` starts outlives its terminal.
become() {
    local name=$1
    shift
    if [ "$name" = router ] && [ "$UPSTREAM" = simulator ]; then
        exec env -u AWS_SESSION_TOKEN -u AWS_BEARER_TOKEN_BEDROCK AWS_ACCESS_KEY_ID=AKIDSIMULATOR \
            AWS_SECRET_ACCESS_KEY=simulator-secret setsid "$@"
    fi
    exec setsid "$@"
}

start() {
    local name=$1 bin=$2 dir=$3 args
    rm -f "$dir/$name.ready"
    mapfile -t args < <(options "$@")
    become "$name" "$bin/prism-$name" "${args[@]}" >"$dir/$name.log" 2>&1 </dev/null &
    echo "$! $(realpath "$bin/prism-$name")" >"$dir/$name.pid"
}

# The pid in a pid file, if that process still is what was started (pids are used again): by its
# program, or as a child of this shell that has not become it yet. (In a trap a bare `return` would
# give the status from before it.)
pid_of() {
    local pid program exe parent
    read -r pid program 2>/dev/null <"$1" || return 1
    exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
    [ "${exe% (deleted)}" = "$program" ] || [ "$parent" = $$ ] || return 1
    echo "$pid"
}

# Waits until all in $1 serve. Says why when one does not.
wait_ready() {
    local dir=$1 name until=$((SECONDS + START_S))
    for name in $(services); do
        until [ -s "$dir/$name.ready" ]; do
            if ! pid_of "$dir/$name.pid" >/dev/null; then
                grep -q ADDRESS_IN_USE "$dir/$name.log" && return $IN_USE
                echo "suite: prism-$name ended before it served; its last words:" >&2
                tail -n 20 "$dir/$name.log" >&2
                return 1
            fi
            if [ $SECONDS -ge $until ]; then
                echo "suite: prism-$name did not serve within $START_S s; its last words:" >&2
                tail -n 20 "$dir/$name.log" >&2
                return 1
            fi
            sleep 0.02
        done
    done
}

# Stops the service $1 in $2 and forgets it; quiet when it does not run.
stop_one() {
    local name=$1 dir=$2 pid waited
    pid=$(pid_of "$dir/$name.pid") && kill -TERM "$pid" 2>/dev/null
    for ((waited = 0; waited < STOP_S * 20; waited++)); do
        pid=$(pid_of "$dir/$name.pid") || break
        sleep 0.05
    done
    pid=$(pid_of "$dir/$name.pid") && kill -KILL "$pid" 2>/dev/null
    rm -f "$dir/$name.pid" "$dir/$name.ready"
}

# Stops all in $1. The router is the first: it ends the calls that run, and the analyzer must be
# there to take their records.
stop() {
    local name
    for name in router analyzer limiter simulator; do
        stop_one $name "$1"
    done
}

# Starts all in $2 on the block at $3.
start_all() {
    local bin=$1 dir=$2 base=$3 name code
    for name in $(services); do
        start "$name" "$bin" "$dir" "$base"
    done
    wait_ready "$dir"
    code=$?
    [ $code -eq 0 ] || stop "$dir"
    return $code
}

# The same on a block that is free, which becomes BASE.
start_somewhere() {
    local bin=$1 dir=$2 try code=1
    for try in 1 2 3 4 5 6 7 8; do
        BASE=$((20000 + RANDOM % 10000))
        taken_port $BASE >/dev/null && continue
        start_all "$bin" "$dir" $BASE
        code=$?
        [ $code -eq $IN_USE ] || break
    done
    [ $code -eq 0 ] || die "the suite could not be started (after $try tries)"
}

check_bin() {
    local name
    for name in $(services); do
        [ -x "$1/prism-$name" ] || die "$1/prism-$name is missing; make builds it"
    done
    [ -x "$1/prismctl" ] || die "$1/prismctl is missing; make builds it"
}

# The command line of prismctl for the suite at a block: in CLI.
set_cli() {
    CLI=("$1/prismctl" --analyzer "$(address analyzer "$2")" --router "$(address router "$2")"
        --limiter "$(address limiter "$2")")
}
