#!/bin/bash
# The suite as a Node client sees it: grpc-js with stubs made from proto/.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/clients/cases.sh
. tests/clients/cases.sh

modules=out/clients/node

# What package-lock.json pins, unless it is there.
make_client() {
    command -v node && command -v npm || return
    mkdir -p $modules && cmp -s tests/clients/node/package-lock.json $modules/installed && return
    cp tests/clients/node/package*.json $modules &&
        (cd $modules && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier) &&
        cp tests/clients/node/package-lock.json $modules/installed
}

client() {
    NODE_PATH=$modules/node_modules PROTOS=proto timeout 60 node tests/clients/node/client.js "$@"
}

need "the Node client" make_client
run_cases
