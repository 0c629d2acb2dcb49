#!/bin/bash
# The suite as a Python client sees it: grpcio with stubs made from proto/.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/clients/cases.sh
. tests/clients/cases.sh

stubs=$folder/python

make_client() {
    local protos
    build/tools.sh pygrpc && mkdir "$stubs" && protos=$(cd proto && find prism -name '*.proto') &&
        # shellcheck disable=SC2086
        out/tools/bin/pygrpc -m grpc_tools.protoc -Iproto -Iproto/third_party \
            --python_out="$stubs" --grpc_python_out="$stubs" $protos
}

client() {
    PYTHONPATH=$stubs PYTHONDONTWRITEBYTECODE=1 timeout 60 out/tools/bin/pygrpc tests/clients/python/client.py "$@"
}

need "the Python client" make_client
run_cases
