#!/bin/bash
# AWS's own SDK core (botocore) beside the suite: its client understands the simulator, and it signs
# and decodes as the router and the simulator do, over HTTPS with an authority of our own.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

CALLS=60

if ! build/tools.sh botocore grpcurl >"$folder/tools" 2>&1; then
    sed 's/^/# /' "$folder/tools"
    echo "1..1"
    echo "ok 1 - botocore # SKIP it cannot be had here: 7 cases not run"
    exit 0
fi

peer() {
    env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY -u HTTPS_PROXY -u https_proxy \
        PYTHONDONTWRITEBYTECODE=1 no_proxy='*' out/tools/bin/botocore \
        tests/clients/python/botocore_peer.py "$@"
}

# One authority, and a certificate for 127.0.0.1 that says nothing of localhost.
make_certificates() {
    local new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
    openssl req -x509 "${new[@]}" -keyout "$folder/ca.key" -out "$folder/ca.pem" -subj /CN=ours &&
        openssl req -x509 "${new[@]}" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" \
            -keyout "$folder/server.key" -out "$folder/server.pem" -subj /CN=one \
            -addext 'subjectAltName=IP:127.0.0.1' -addext 'basicConstraints=critical,CA:FALSE'
}

start_proxy() {
    local i
    mkdir "$folder/proxy"
    peer proxy "$simulator" "$folder/server.pem" "$folder/server.key" "$folder/proxy" \
        >"$folder/proxy.log" 2>&1 &
    proxy=$!
    for ((i = 0; i < 600; i++)); do
        [ -s "$folder/proxy/port" ] && break
        kill -0 "$proxy" || return
        sleep 0.05
    done
    port=$(cat "$folder/proxy/port")
}

stop_proxy() {
    kill "$proxy" 2>/dev/null
    wait "$proxy" 2>/dev/null
}
trap 'stop_proxy; finish' EXIT

# A router whose keys are a role's, assumed with those of another profile.
start_router() {
    local name=$1 host=$2
    shift 2
    mkdir -p "$folder/.aws"
    cat >"$folder/.aws/config" <<END
[profile prism]
role_arn = arn:aws:iam::123456789012:role/prism
role_session_name = a session=+/
source_profile = base
region = eu-central-1
END
    cat >"$folder/.aws/credentials" <<END
[base]
aws_access_key_id = ASIDSIMULATOR
aws_secret_access_key = base-secret
END
    program=$folder/as_role
    printf '#!/bin/sh\nunset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY\nexec env HOME=%s %s "$@"\n' \
        "'$folder' AWS_PROFILE=prism AWS_ENDPOINT_URL_STS='https://127.0.0.1:$port'" \
        "'$bin/prism-router'" >"$program"
    chmod +x "$program"
    start "$name" --bedrock-endpoint="https://$host:$port" --limiter="$limiter" --ledger= "$@"
    program=
}

ask() {
    out/tools/bin/grpcurl -plaintext -max-time 30 -d "$2" "$1" prism.router.v1.RouterService/GenerateOnce
}

models=(sonnet-4.6 sonnet-5 haiku-4.5 opus-4.6 sonnet-4.5)

# Prompts of many lengths and scripts, every model.
generations() {
    local i text
    for ((i = 0; i < CALLS; i++)); do
        printf -v text '%*s' $((i * 37)) ''
        text="Passwords are stored in plain text. é 漢 ${text// /x} $i"
        ask "$router" "{\"generation\":{\"models\":[\"${models[i % 5]}\"],\"maxContentTokens\":400,
            \"messages\":[{\"role\":\"ROLE_USER\",\"content\":[{\"text\":\"$text\"}]}]}}" \
            >"$folder/answer" || return
        grep -q '"simulated": true' "$folder/answer" || return
    done
}

seen() { grep -c -- "$1" "$folder/proxy/seen"; }

signs_as_botocore_does() {
    generations || { cat "$folder/proxy/seen" "$folder/proxy.log"; tail -n 5 "$folder/router.log"; return 1; }
    [ "$(seen '"status": 200')" -eq $CALLS ] && [ "$(seen refused)" -eq 0 ] &&
        [ "$(seen '"token": "a/session+token=="')" -eq $CALLS ]
}

frames_decode() {
    local frames
    frames=$(sed -nE 's/.*"frames": ([0-9]+), "bad": null.*/\1/p' "$folder/proxy/seen" | awk '{ n += $1 } END { print n }')
    [ "$(seen '"bad": null')" -eq $CALLS ] && [ "$frames" -gt $((CALLS * 5)) ]
}

role_was_assumed() {
    head -n 3 "$folder/proxy/seen"
    [ "$(seen '"action": "AssumeRole"')" -ge 1 ] && [ "$(seen '"key": "ASIDSIMULATOR"')" -ge 1 ] &&
        grep -q '"msg":"AWS credentials","source":"profile"' "$folder/router.log" &&
        ! grep -qE 'base-secret|simulator-secret|session.token' "$folder/router.log"
}

hello='{"generation":{"maxAttempts":1,"messages":[{"role":"ROLE_USER","content":[{"text":"hi"}]}]}}'

# An endpoint that is not believed gets nothing, and the caller is told why.
not_believed() {
    local before
    before=$(wc -l <"$folder/proxy/seen")
    ask "$address" "$hello" >"$folder/answer" 2>&1 && return 1
    cat "$folder/answer"
    grep -qF "$1" "$folder/answer" && [ "$(wc -l <"$folder/proxy/seen")" -eq "$before" ]
}

start simulator --speed=50
simulator=$address
start limiter --assume-new-store --suite-requests=1000 --suite-tokens=10000000
limiter=$address

ok "its client reads whole answers" peer invoke "$simulator"
ok "its client reads streams" peer stream "$simulator"
ok "its client understands every kind of error" peer errors "$simulator"

if ! make_certificates >"$folder/openssl" 2>&1 || ! start_proxy; then
    sed 's/^/# /' "$folder/openssl" "$folder/proxy.log"
    echo "Bail out! there is no HTTPS endpoint"
    failed=1
    exit 1
fi
AWS_CA_BUNDLE=$folder/ca.pem start_router router 127.0.0.1
router=$address
ok "it signs as the router does: $CALLS calls" signs_as_botocore_does
ok "it decodes what the simulator streams" frames_decode
echo "# signatures of the router's recomputed by botocore: $(seen '"status": 200') of $CALLS cases"
ok "it signs AssumeRole as the router does" role_was_assumed

AWS_ACCESS_KEY_ID=AKIDSIMULATOR AWS_SECRET_ACCESS_KEY=simulator-secret \
    program=$bin/prism-router start named --ca-file="$folder/ca.pem" --bedrock-endpoint="https://localhost:$port" \
    --limiter="$limiter" --ledger=
ok "a server of another name is not believed" not_believed "the server's certificate is for another host name"
plan
