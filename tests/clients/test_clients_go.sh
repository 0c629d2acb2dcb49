#!/bin/bash
# The suite as a Go client sees it: grpc-go with stubs made from proto/.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/clients/cases.sh
. tests/clients/cases.sh

need "the Go client" tests/clients/go/build.sh

client() {
    timeout 60 out/clients/go/bin/client "$@"
}

run_cases
