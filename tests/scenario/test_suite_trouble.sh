#!/bin/bash
# build/suite when it is interrupted, when a service does not start, without credentials: with the
# base system's PATH, and nothing is left behind.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir "$folder/tmp" "$folder/bin"
cp -s "$(realpath "$bin")"/* "$folder/bin"
ln -sf /bin/false "$folder/bin/prism-router"

suite() {
    TMPDIR=$folder/tmp build/suite "$@" >"$folder/out" 2>&1
}
shows() { grep -F "$1" "$folder/out" || { cat "$folder/out"; return 1; }; }

# Services have the demonstration's directory in their command lines.
leaves_nothing() {
    local file
    for file in /proc/[0-9]*/cmdline; do
        if tr '\0' ' ' 2>/dev/null <"$file" | grep -F "$folder/tmp/prism-demo."; then
            return 1
        fi
    done
    [ -z "$(ls -A "$folder/tmp")" ] || { ls -lAR "$folder/tmp"; return 1; }
}

# Ends with 143 when it is told to end while a model thinks.
is_stopped() {
    local pid i code
    TMPDIR=$folder/tmp build/suite demo "$bin" SECURITY.md >"$folder/out" 2>&1 &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        grep -qF 'thinking:' "$folder/out" && break
        sleep 0.05
    done
    kill -TERM $pid
    wait $pid
    code=$?
    echo "ended with $code"
    [ $code -eq 143 ]
}
fails() { ! "$@" || { echo "ended with 0"; return 1; }; }
without_credentials() {
    (
        unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
        unset AWS_PROFILE AWS_WEB_IDENTITY_TOKEN_FILE AWS_CONTAINER_CREDENTIALS_FULL_URI
        export HOME=$folder AWS_EC2_METADATA_DISABLED=true
        UPSTREAM=bedrock suite demo "$bin" SECURITY.md
    )
}

ok "ends by its signal" is_stopped
ok "its task is cancelled" shows ': cancelled'
ok "leaves nothing" leaves_nothing
ok "fails when a service does not start" fails suite demo "$folder/bin" SECURITY.md
ok "names that service" shows 'prism-router ended before it served'
ok "leaves nothing then" leaves_nothing
ok "fails without a document" fails suite demo "$bin" "$folder/none.md"
ok "fails without credentials for Bedrock" fails without_credentials
ok "says where it looked for them" shows 'environment: neither AWS_ACCESS_KEY_ID'
ok "leaves nothing then either" leaves_nothing
plan
