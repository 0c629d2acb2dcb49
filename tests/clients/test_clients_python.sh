#!/bin/bash
# The suite as a Python client sees it: grpcio with stubs made from proto/.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/clients/cases.sh
. tests/clients/cases.sh

stubs=$folder/python

make_client() {
    local protos
    mapfile -t protos < <(cd proto && find prism -name '*.proto')
    build/tools.sh pygrpc && mkdir "$stubs" &&
        out/tools/bin/pygrpc -m grpc_tools.protoc -Iproto -Iproto/third_party \
            --python_out="$stubs" --grpc_python_out="$stubs" "${protos[@]}"
}

python() {
    PYTHONPATH=$stubs PYTHONDONTWRITEBYTECODE=1 timeout 60 out/tools/bin/pygrpc "$@"
}

client() {
    python tests/clients/python/client.py "$@"
}

need "the Python client" make_client
ok "the published service configs fit the protos" python tests/clients/python/service_configs.py \
    proto/prism/*/v1/service_config.json
run_cases
