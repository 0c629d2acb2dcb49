# shellcheck shell=bash disable=SC2154
# cases.sh -- what a client of another team does with the suite, once for every language. Sourced by
# test_clients_*.sh, which define
#
#     client VERB ADDRESS [ARGUMENT]
#
# It makes one call and prints what came of it: code=CANONICAL_NAME always; of an error's details
# reason= domain= field= quota= resource= retry_ms=; else what the verb is after:
#
#     models ROUTER            ListModels; models= first=
#     compressed ROUTER        the same with a gzip request
#     retry ROUTER FILE        the same on a channel with this service config
#     generate ROUTER ID       Generate to its end; events= simulated=
#     deadline ROUTER ID       Generate with 600 ms
#     cancel ROUTER ID         Generate, cancelled at the first thinking
#     analyze ANALYZER ID      AnalyzeSection; events= outcome= level= findings=
#     bad_request ROUTER       GenerateOnce without a generation
#     unknown ROUTER           GetModel of models/none
#     health ADDRESS SERVICE   health=
#     reflect ROUTER           service= of each, method= of RouterService's
#
# ID travels as x-request-id, by which the call is found in the server's log. Judged is here, and by
# what the servers saw.

# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

# need NAME COMMAND...: the command makes the client; without it all is skipped.
need() {
    local name=$1
    shift
    "$@" >"$folder/tools" 2>&1 && return
    sed 's/^/# /' "$folder/tools"
    echo "1..1"
    echo "ok 1 - $name # SKIP it cannot be had here: 13 cases not run"
    exit 0
}

# says PATTERN... -- VERB...: lines that the client prints, as extended regular expressions.
says() {
    local patterns=() pattern
    while [ "$1" != -- ]; do
        patterns+=("$1")
        shift
    done
    shift
    client "$@" >"$folder/client" 2>"$folder/client.err"
    cat "$folder/client" "$folder/client.err"
    for pattern in "${patterns[@]}"; do
        grep -qxE -- "$pattern" "$folder/client" || { echo "not said: $pattern"; return 1; }
    done
}

# soon COMMAND...: within ten seconds.
soon() {
    local i
    for ((i = 0; i < 200; i++)); do
        "$@" && return
        sleep 0.05
    done
    echo "never: $*"
    return 1
}

# server_ended SERVER ID CODE: its log line of the call says so; CODE is a regular expression.
server_ended() {
    grep -F "\"request_id\":\"$2\"" "$folder/$1.log" | grep -F '"msg":"call"' | grep -qE "\"code\":\"($3)\""
}

# Calls that the provider saw, and of these the ones whose caller left; all have ended.
arrived() { grep -c '"event":"start"' "$folder/arrivals"; }
left() { grep -c '"outcome":"client_gone"' "$folder/arrivals"; }
provider_is_idle() { [ "$(arrived)" -eq "$(grep -c '"event":"end"' "$folder/arrivals")" ]; }
leaves_rise_to() { [ "$(left)" -eq "$1" ]; }

# ends_early VERB CODE SEEN: the client's call ends so, the router sees it, the provider's call ends.
ends_early() {
    local before
    before=$(left)
    says "code=$2" -- "$1" "$router" "early-$1" &&
        soon server_ended router "early-$1" "$3" && soon leaves_rise_to $((before + 1)) && soon provider_is_idle
}

whole_generation() {
    says 'events=\[?admitted block_start thinking_delta signature_delta block_stop block_start text_delta block_stop completed\]?' \
        simulated=true code=OK -- generate "$router" whole-1 && soon server_ended router whole-1 OK
}

whole_analysis() {
    says 'events=\[?.*admitted .*thinking_delta .*text_delta .*section_result\]?' outcome=OUTCOME_OK \
        'level=RISK_LEVEL_(MEDIUM_HIGH|HIGH|CRITICAL)' 'findings=[1-9]' code=OK -- \
        analyze "$analyzer" whole-2 && soon server_ended analyzer whole-2 OK
}

bad_request_is_readable() {
    says code=INVALID_ARGUMENT reason=BAD_REQUEST domain=prism.router.v1.RouterService \
        'field=generation[a-z_.]*: .+' -- bad_request "$router"
}

unknown_is_readable() {
    says code=NOT_FOUND reason=MODEL_UNKNOWN domain=prism.router.v1.RouterService \
        'resource=prism.router.v1.Model models/none' -- unknown "$router"
}

# A router that takes two calls (a client's health check is one), a limiter that grants two a minute,
# and a provider that never answers.
narrow_start() {
    printf 'rules:\n  - {action: stall, at: headers, for: 60s}\n' >"$folder/faults"
    program=$bin/prism-simulator start stalled --faults="$folder/faults" \
        --arrivals="$folder/stalled.arrivals"
    stalled=$address
    program=$bin/prism-limiter start strict --assume-new-store --suite-requests=2
    program=$bin/prism-router start narrow --bedrock-endpoint="http://$stalled" --limiter="$address" \
        --ledger= --max-inflight=2
    narrow=$address
}

stalled_has() { [ "$(grep -c '"event":"start"' "$folder/stalled.arrivals")" -eq "$1" ]; }
refusals() { grep '"msg":"call"' "$folder/narrow.log" | grep -c '"reason":"OVERLOADED"'; }
refused_more_than() { [ "$(refusals)" -gt "$1" ]; }

# retry_until ADDRESS COMMAND...: a call that retries gets its answer by what the command does.
retry_until() {
    local at=$1 retry
    shift
    client retry "$at" proto/prism/router/v1/service_config.json >"$folder/retry" 2>&1 &
    retry=$!
    "$@" || return
    wait $retry
    cat "$folder/retry"
    grep -qxE 'models=[5-9]' "$folder/retry" && grep -qx code=OK "$folder/retry"
}

# While two calls run, others are refused at once; one that retries is served when these have ended.
overload_is_retried() {
    local i before holders=()
    for i in 1 2; do
        client generate "$narrow" holder-$i >/dev/null 2>&1 &
        holders+=($!)
    done
    soon stalled_has 2 &&
        says code=UNAVAILABLE reason=OVERLOADED 'retry_ms=[1-9][0-9]*' -- models "$narrow" || return
    before=$(refusals)
    retry_until "$narrow" end_after_refusal "$before" "${holders[@]}"
}

end_after_refusal() {
    local before=$1
    shift
    soon refused_more_than "$before" && pkill -P "$(IFS=, && echo "$*")"
}

# Behind overload_is_retried, whose calls were the minute's.
exhaustion_says_when() {
    says code=UNAVAILABLE reason=SUITE_LIMIT 'retry_ms=[1-9][0-9]{3,4}' -- generate "$narrow" exhausted
}

late_router() {
    program=$bin/prism-router start late --bedrock-endpoint="http://$simulator" --limiter="$limiter" \
        --ledger= "$@"
}

start_late() {
    sleep 0.3
    late_router --listen="$1"
}

# A router that was there before: only its address counts.
late_start_is_bridged() {
    local late
    late_router
    late=$address
    kill "${pids[-1]}" && wait "${pids[-1]}"
    unset 'pids[-1]'
    says code=UNAVAILABLE -- models "$late" && retry_until "$late" start_late "$late"
}

serves_health() {
    local name
    for name in '' prism.router.v1.RouterService readiness; do
        says health=SERVING code=OK -- health "$router" "$name" || return
    done
    says code=NOT_FOUND -- health "$router" prism.none
}

reflects() {
    says service=prism.router.v1.RouterService service=grpc.health.v1.Health method=Generate \
        method=GenerateOnce method=ListModels method=GetModel code=OK -- reflect "$router"
}

run_cases() {
    mkdir "$folder/state"
    start simulator --speed=4 --arrivals="$folder/arrivals"
    simulator=$address
    start limiter --assume-new-store
    limiter=$address
    start router --bedrock-endpoint="http://$simulator" --limiter="$limiter" --ledger=
    router=$address
    start analyzer --router="$router" --state-dir="$folder/state"
    analyzer=$address

    ok "unary" says 'models=[5-9]' 'first=models/.+' code=OK -- models "$router"
    ok "unary with a gzip request" says 'models=[5-9]' code=OK -- compressed "$router"
    ok "a stream of the router's" whole_generation
    ok "a stream of the analyzer's" whole_analysis
    # The client's clock began earlier: it may have hung up before the deadline came at the router.
    ok "its deadline ends the call everywhere" ends_early deadline DEADLINE_EXCEEDED 'DEADLINE_EXCEEDED|CANCELLED'
    ok "its cancel ends the call everywhere" ends_early cancel CANCELLED CANCELLED
    ok "a bad request names its field" bad_request_is_readable
    ok "what is unknown is named" unknown_is_readable
    ok "health" serves_health
    ok "reflection" reflects
    narrow_start
    ok "the service config retries what overload refuses" overload_is_retried
    ok "an exhausted limit says when" exhaustion_says_when
    ok "the service config bridges a late start" late_start_is_bridged
    plan
}
