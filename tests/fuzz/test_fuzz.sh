#!/bin/bash
# Each fuzz target for FUZZ_SECONDS (a minute in CI, else 5 s), two at a time. Built with clang and
# its sanitizers whatever the flavor under test is, so it runs with the release flavor only.
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${FUZZ_SECONDS:-$([ "${CI:-}" = true ] && echo 60 || echo 5)}
targets=$(basename -a tests/fuzz/fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
log=out/fuzz/log
mkdir -p "$log"

skip_all() {
    n=0
    for target in $targets; do
        n=$((n + 1))
        echo "ok $n - fuzz_$target # SKIP $1"
    done
    echo "1..$n"
    exit 0
}

[ "${PRISM_OUT:-out/release}" = out/release ] || skip_all "runs with FLAVOR=release"
echo 'int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return data && size ? 0 : 0; }' |
    clang -fsanitize=fuzzer,address -x c - -o "$log/probe" 2>"$log/probe.log" ||
    skip_all "clang has no fuzzer runtime (libclang-rt-14-dev)"
if ! make --no-print-directory -j2 FLAVOR=fuzz fuzz-targets >"$log/build.log" 2>&1; then
    sed 's/^/# /' "$log/build.log"
    echo "not ok 1 - the fuzz targets are built"
    echo "1..1"
    exit 1
fi

echo "$targets" | xargs -P 2 -I T sh -c "tests/fuzz/run T $seconds >$log/T.log 2>&1; echo \$? >$log/T.code"

n=0 failed=0
for target in $targets; do
    n=$((n + 1))
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log/$target.log")
    if [ "$(cat "$log/$target.code")" -eq 0 ]; then
        echo "ok $n - fuzz_$target: ${runs:-0} inputs"
    else
        failed=$((failed + 1))
        echo "not ok $n - fuzz_$target"
        grep -aE 'ERROR|SUMMARY|runtime error|check failed|Test unit written|Base64|^    #[0-9]+ .* (libs|services|tests)/' \
            "$log/$target.log" | sed 's/^/# /'
    fi
done
echo "1..$n"
[ "$failed" -eq 0 ]
