#!/bin/bash
# grpcurl, a client that knows nothing of ours but what reflection tells it.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

grpcurl=out/tools/bin/grpcurl
if [ ! -x $grpcurl ] && ! build/tools.sh grpcurl >"$folder/tools" 2>&1; then
    sed 's/^/# /' "$folder/tools"
    echo "1..1"
    echo "ok 1 # SKIP grpcurl not available"
    exit 0
fi

call() { $grpcurl -plaintext -max-time 30 "$@"; }

# said WORD...: each of them was said by the command before.
said() {
    local word
    for word in "$@"; do
        grep -qF -- "$word" "$folder/out" || { echo "not said: $word"; cat "$folder/out"; return 1; }
    done
}

lists_services() {
    call "$analyzer" list >"$folder/out" &&
        said prism.analyzer.v1.AnalyzerService prism.analyzer.v1.LedgerService grpc.health.v1.Health \
            grpc.reflection.v1.ServerReflection &&
        call "$router" list prism.router.v1.RouterService >"$folder/out" &&
        said Generate GenerateOnce ListModels &&
        call "$limiter" list >"$folder/out" && said prism.limiter.v1.LimiterService
}

describes_with_comments() {
    call "$analyzer" describe prism.analyzer.v1.AnalyzerService.AnalyzeSection >"$folder/out" &&
        said "Analyses one section while the caller waits" "returns ( stream" &&
        call "$analyzer" describe prism.analyzer.v1.AnalyzeSectionRequest >"$folder/out" &&
        said "Who pays. Empty: from the metadata." "string tenant = 1"
}

section() {
    local text
    text=$(printf '%s' "$1" | base64 -w0)
    printf '{"section":{"displayName":"access.md","content":"%s"}}' "$text"
}

streams_an_analysis() {
    call -d "$(section 'Passwords are stored in plain text. Backups are not encrypted.')" \
        "$analyzer" prism.analyzer.v1.AnalyzerService/AnalyzeSection >"$folder/out" &&
        said admitted thinkingDelta textDelta sectionResult '"riskLevel"' '"simulated": true'
}

# refused STATUS COMMAND...: fails with this status.
refused() {
    local status=$1
    shift
    if "$@" >"$folder/out" 2>&1; then
        echo "was not refused"
        return 1
    fi
    said "Code: $status"
}

shows_error_details() {
    refused NotFound call -d '{"name":"tenants/default/tasks/nobody"}' "$analyzer" \
        prism.analyzer.v1.AnalyzerService/GetTask && said TASK_UNKNOWN tenants/default/tasks/nobody &&
        refused InvalidArgument call -d '{}' "$router" prism.router.v1.RouterService/GenerateOnce &&
        said BAD_REQUEST generation google.rpc.BadRequest google.rpc.ErrorInfo
}

answers_health_checks() {
    local address service
    for address in "$analyzer" "$router" "$limiter"; do
        for service in '' readiness liveness; do
            call -d "{\"service\":\"$service\"}" "$address" grpc.health.v1.Health/Check >"$folder/out" &&
                said '"SERVING"' || return 1
        done
    done
    refused NotFound call -d '{"service":"nobody"}' "$router" grpc.health.v1.Health/Check
}

# Without reflection grpcurl would not send it: its own description has the method, ours does not.
refuses_unknown_methods() {
    mkdir -p "$folder/proto" &&
        cat >"$folder/proto/router.proto" <<'PROTO' &&
syntax = "proto3";
package prism.router.v1;
service RouterService { rpc Invent(Nothing) returns (Nothing); }
message Nothing {}
PROTO
        refused Unimplemented call -import-path "$folder/proto" -proto router.proto "$router" \
            prism.router.v1.RouterService/Invent && said "no such method" &&
        refused Unimplemented call "$analyzer" prism.analyzer.v1.AnalyzerService/Chat &&
        said METHOD_NOT_BUILT
}

suite_start
ok "lists services and methods" lists_services
ok "describes them with their comments" describes_with_comments
ok "streams an analysis" streams_an_analysis
ok "shows error details" shows_error_details
ok "answers health checks" answers_health_checks
ok "refuses unknown methods at once" refuses_unknown_methods
ok "streams an analysis after all that" streams_an_analysis
plan
