#!/bin/bash
# The chart: what it renders is Kubernetes, its options are the programs', and the suite runs with them.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

tools=out/tools
chart=helm/ai-prism
kubernetes=1.34.0

if ! build/tools.sh helm >"$folder/tools" 2>&1; then
    sed 's/^/# /' "$folder/tools"
    echo "1..1"
    echo "ok 1 # SKIP helm not available"
    exit 0
fi

# skip NAME WHY: one case that could not run.
skip() {
    cases=$((cases + 1))
    echo "ok $cases - $1 # SKIP $2"
}

render() { $tools/bin/helm template try $chart --namespace prism --kube-version $kubernetes "$@"; }
# As text, of a scenario in the chart's ci folder.
render_scenario() { render -f "$chart/ci/$1-values.yaml" "${@:2}"; }

lints() { $tools/bin/helm lint --strict --kube-version $kubernetes -f "$chart/ci/$1-values.yaml" $chart; }

# The CustomResourceDefinition of a ServiceMonitor is not part of Kubernetes.
is_kubernetes() {
    render_scenario "$1" >"$folder/rendered" &&
        $tools/bin/kubeconform -strict -summary -kubernetes-version $kubernetes -skip ServiceMonitor \
            -schema-location "$tools/kube-schemas/{{.ResourceKind}}{{.KindSuffix}}.json" <"$folder/rendered"
}

count() { grep -cE -- "$1" "$folder/rendered"; }
# Every pod and every container of it, that of the test too.
is_restricted() {
    local pods containers
    render_scenario "$1" >"$folder/rendered" || return
    pods=$(count '^ *enableServiceLinks: false$')
    containers=$(count '^ *image: ')
    echo "$pods pods, $containers containers"
    [ "$pods" -gt 0 ] && [ "$containers" -ge "$pods" ] &&
        [ "$(count '^ *runAsNonRoot: true$')" -eq "$pods" ] &&
        [ "$(count '^ *type: RuntimeDefault$')" -eq "$pods" ] &&
        [ "$(count '^ *allowPrivilegeEscalation: false$')" -eq "$containers" ] &&
        [ "$(count '^ *readOnlyRootFilesystem: true$')" -eq "$containers" ] &&
        [ "$(count '^ *- ALL$')" -eq "$containers" ]
}

# The files of the ConfigMaps of a scenario, as $folder/SCENARIO/COMPONENT.FILE.
unpack() {
    mkdir -p "$folder/$1"
    render_scenario "$1" --show-only templates/configmaps.yaml | awk -v dir="$folder/$1" '
        /app.kubernetes.io\/component: / { component = $2 }
        /^  [a-z]+\.yaml: \|/ { file = dir "/" component "." substr($1, 1, length($1) - 1); next }
        file && /^    / { print substr($0, 5) >file; next }
        { file = "" }'
}
takes_options() {
    local file n=0
    unpack "$1" || return
    for file in "$folder/$1"/*.options.yaml; do
        "$bin/prism-$(basename "$file" .options.yaml)" --config="$file" --print-config >"$folder/effective" || return
        [ "$(grep -c "  # $file:" "$folder/effective")" -eq "$(grep -c : "$file")" ] ||
            { cat "$file" "$folder/effective"; return 1; }
        n=$((n + 1))
    done
    [ $n -gt 0 ]
}

# refuses WORD FLAG...: rendering fails and says the word.
refuses() {
    local word=$1
    shift
    if render "$@" >"$folder/out" 2>&1; then
        echo "was not refused: $*"
        return 1
    fi
    grep -F -- "$word" "$folder/out" || { cat "$folder/out"; return 1; }
}
refuses_slips() {
    refuses rooter --set rooter.enabled=true &&
        refuses analyzer.replicas --set analyzer.replicas=2 &&
        refuses limiter.replicas --set limiter.replicas=2 &&
        refuses router.config --set router.config.listen=0.0.0.0:1 &&
        refuses limiter.config.drain --set limiter.config.drain=25
}
refuses_what_cannot_work() {
    refuses "enable limiter" --set limiter.enabled=false &&
        refuses "enable router" --set router.enabled=false &&
        refuses limiter.stateDir --set limiter.persistence.enabled=true --set limiter.stateDir= &&
        refuses "one or the other" --set simulator.enabled=true --set aws.existingSecret=x
}

# Pods wait as long as their processes: 10 + 120 + 10, and 25 instead of 120 for the others.
gives_time_to_drain() {
    render_scenario production >"$folder/rendered" &&
        [ "$(count 'terminationGracePeriodSeconds: 140$')" -eq 1 ] &&
        [ "$(count 'terminationGracePeriodSeconds: 45$')" -eq 2 ]
}

# rolls FLAG...: says which components' pods an upgrade with these flags replaces.
checksums() { render "$@" | awk '/^        app.kubernetes.io\/component: / { c = $2 } /checksum\/config/ { print c, $2 }'; }
rolls_what_changed() {
    checksums >"$folder/before" && checksums --set router.config.max_attempts=5 >"$folder/after" || return
    [ "$(wc -l <"$folder/before")" -eq 3 ] &&
        [ "$(diff "$folder/before" "$folder/after" | sed -n 's/^> \([a-z]*\).*/\1/p')" = router ]
}

# The suite with the files of a scenario; only addresses and paths are this machine's.
starts_with_the_chart() {
    local of=$folder/simulator
    mkdir "$folder/state" "$folder/limits"
    start simulator --config="$of/simulator.options.yaml" --faults="$of/simulator.faults.yaml" \
        --quotas="$of/simulator.quotas.yaml"
    simulator=$address
    start limiter --config="$of/limiter.options.yaml" --state-dir="$folder/limits"
    limiter=$address
    start router --config="$of/router.options.yaml" --bedrock-endpoint="http://$simulator" --limiter="$limiter" \
        --ledger=
    router=$address
    start analyzer --config="$of/analyzer.options.yaml" --router="$router" --state-dir="$folder/state"
    analyzer=$address
}
takes_catalogue_and_policy() {
    local of=$folder/production
    suite_stop
    start limiter --config="$of/limiter.options.yaml" --state-dir="$folder/limits" --catalogue="$of/limiter.catalogue.yaml" \
        --policy="$of/limiter.policy.yaml" &&
        "$bin/prismctl" quota -o json --limiter="$address" >"$folder/out" && cat "$folder/out" &&
        grep -F '"requests":"600"' "$folder/out" && grep -F '"requests":"10000"' "$folder/out"
}

# The notes are a template like others, so a further object may show them.
notes() {
    cat >"$folder/notes.yaml" <<'TEXT'
extraObjects:
  - |
    kind: ConfigMap
    data:
      notes: |
        {{- include "ai-prism/templates/NOTES.txt" . | nindent 8 }}
TEXT
    render_scenario simulator -f "$folder/notes.yaml" --show-only templates/extraobjects.yaml
}
notes_work() {
    local line n=0
    notes | grep -E '^ *grpcurl ' >"$folder/lines"
    while read -r line; do
        eval "$tools/bin/${line//127.0.0.1:7400/$analyzer}" >"$folder/out" || { cat "$folder/out"; return 1; }
        n=$((n + 1))
    done <"$folder/lines"
    [ $n -eq 2 ] && grep -F '"sectionResult"' "$folder/out"
}

# The commands of the test pod, with its document.
test_pod_works() {
    local args n=0
    render_scenario simulator --show-only templates/tests/suite.yaml >"$folder/rendered" || return
    sed -n '/document.md: |/,$s/^    //p' "$folder/rendered" >"$folder/document.md"
    while read -r args; do
        mapfile -t args < <(tr -d '[]"' <<<"$args" | tr , '\n' | sed "s|^/document/|$folder/|")
        "$bin/prismctl" "${args[@]}" --analyzer="$analyzer" --router="$router" --limiter="$limiter" || return
        n=$((n + 1))
    done < <(sed -n 's/^ *args: //p' "$folder/rendered")
    [ $n -eq 3 ]
}

have_schemas=1
build/tools.sh kubeconform kube-schemas >"$folder/tools" 2>&1 || { have_schemas=0; sed 's/^/# /' "$folder/tools"; }
for values in "$chart"/ci/*-values.yaml; do
    scenario=$(basename "$values" -values.yaml)
    ok "$scenario: helm lint" lints "$scenario"
    if [ $have_schemas -eq 1 ]; then
        ok "$scenario: valid for Kubernetes $kubernetes" is_kubernetes "$scenario"
    else
        skip "$scenario: valid for Kubernetes $kubernetes" "kubeconform or its schemas not available"
    fi
    ok "$scenario: pods are restricted" is_restricted "$scenario"
    ok "$scenario: the programs take their options" takes_options "$scenario"
done
ok "refuses slips" refuses_slips
ok "refuses what cannot work" refuses_what_cannot_work
ok "gives pods the time to drain" gives_time_to_drain
ok "replaces the pods whose configuration changed" rolls_what_changed
starts_with_the_chart
if build/tools.sh grpcurl >"$folder/tools" 2>&1; then
    ok "the notes' command lines work" notes_work
else
    skip "the notes' command lines work" "grpcurl not available"
fi
ok "the test pod's commands work" test_pod_works
ok "the limiter takes catalogue and policy" takes_catalogue_and_policy
plan
