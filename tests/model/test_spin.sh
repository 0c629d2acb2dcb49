#!/bin/bash
# The limiter's protocols, every order of events of a small world: each model holds, and fails where
# what it is about is taken away. A model that grows beyond its budget of states fails. TAP.
set -u
cd "$(dirname "$0")" || exit 1

BUDGET=4000000 # states; a million are some seconds
MEMORY=1500    # MiB

if ! command -v spin >/dev/null; then
    echo "ok 1 - models # SKIP spin is not installed"
    echo "1..1"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cases=0 failed=0

# explore MODEL COMPILER_FLAGS PAN_FLAGS DEFINE...: what pan says, in $folder/said.
explore() {
    local model=$PWD/$1.pml flags=$2 options=$3
    shift 3
    # shellcheck disable=SC2086
    (cd "$folder" && rm -f pan* && spin "$@" -a "$model" && cc -O1 -w -DMEMLIM=$MEMORY $flags -o pan pan.c &&
        timeout 120 ./pan -m20000 $options) >"$folder/said" 2>&1
}

report() {
    cases=$((cases + 1))
    if [ "$1" = 0 ]; then
        echo "ok $cases - $2"
    else
        failed=$((failed + 1))
        echo "not ok $cases - $2"
        tail -n 30 "$folder/said" | sed 's/^/# /'
    fi
}

# Complete, without an error, and within the budget.
holds() {
    local name=$1 states
    shift
    explore "$@"
    states=$(sed -nE 's/^ *([0-9]+) states, stored.*/\1/p' "$folder/said")
    grep -q 'errors: 0' "$folder/said" && ! grep -qE 'Search not completed|max search depth' "$folder/said" &&
        [ "${states:-$((BUDGET + 1))}" -le $BUDGET ]
    report $? "$name (${states:-0} states)"
}

# An assertion of the model is broken.
fails() {
    local name=$1
    shift
    explore "$@"
    grep -q 'assertion violated' "$folder/said"
    report $? "$name"
}

holds 'one probe at a time, by three routers that crash and report late' probe -DSAFETY ''
fails 'without a guard there are two' probe -DSAFETY '' -DGUARD=0
fails 'if any report counted there were two' probe -DSAFETY '' -DANY_REPORT
holds 'a healthy provider closes the breaker' probe '' '-a -f' -DHEALTHY
holds 'a slot has one holder, through renewals and zombies' lease -DSAFETY ''
fails 'without a guard it has two' lease -DSAFETY '' -DGUARD=0
fails 'if leases were counted from the reply it had two' lease -DSAFETY '' -DFROM_REPLY
fails 'if a release freed the slot of another it had two' lease -DSAFETY '' -DBY_SLOT
holds 'no write of two limiters is lost unseen' txn -DSAFETY ''
fails 'without the stamp writes vanish after a rollback' txn -DSAFETY '' -DNO_STAMP
fails 'without the rows grants go on over a loss' txn -DSAFETY '' -DNO_ROWS
holds 'waiters at three limiters go in order, and nobody is forgotten' heads -DSAFETY ''
holds 'also where two run at once' heads -DSAFETY '' -DSLOTS=2
holds 'also without messages' heads -DSAFETY '' -DNO_WAKE
fails 'if heads of others were not looked at a later call went first' heads -DSAFETY '' -DNO_HEADS
fails 'also if a head were registered in a step of its own' heads -DSAFETY '' -DLATE_HEADS
fails 'with messages alone one that is lost leaves waiters behind' heads -DSAFETY '' -DNO_TIMER
fails 'if heads of dead limiters stayed nobody went any more' heads -DSAFETY '' -DNO_EXPIRY
echo "1..$cases"
[ "$failed" -eq 0 ]
