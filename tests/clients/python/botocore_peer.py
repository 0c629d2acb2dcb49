"""AWS's own SDK core as the judge of our Bedrock: its client against the simulator, and its signer
and stream decoder between the router and the simulator.

    botocore_peer.py invoke|stream|errors ADDRESS     cases of a client, exit 0 when they hold
    botocore_peer.py proxy ADDRESS CERT KEY FOLDER    an HTTPS endpoint in front of the simulator

The proxy recomputes every signature with botocore before it passes a request on, byte for byte,
and decodes every answer on its way back. A form is the token service's: its signature is checked
too, and it is answered with the simulator's keys and a session token. FOLDER/port says where it
listens, FOLDER/seen gets a line a request.
"""

import http.client
import http.server
import json
import os
import ssl
import sys
import threading
import urllib.parse
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.eventstream
import botocore.exceptions
import botocore.session

KEYS = {
    "AKIDSIMULATOR": "simulator-secret",
    "ASIDSIMULATOR": "base-secret",
}
SESSION = "a/session+token=="
MODEL = "us.anthropic.claude-sonnet-4-6"
BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 2048,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "messages": [{"role": "user", "content": "Passwords are stored in plain text. é 漢 ✓"}],
}


# --- its client ----------------------------------------------------------------------------------


def client(address, access_key="AKIDSIMULATOR", secret_key="simulator-secret"):
    return botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="us-east-2",
        endpoint_url="http://" + address,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def equal(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r} is not {wanted!r}")


def invoke(address):
    for model in (MODEL, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"):
        reply = client(address).invoke_model(modelId=model, body=json.dumps(BODY))
        answer = json.loads(reply["body"].read())
        equal("status", reply["ResponseMetadata"]["HTTPStatusCode"], 200)
        equal("content type", reply["contentType"], "application/json")
        equal("type", answer["type"], "message")
        equal("blocks", [b["type"] for b in answer["content"]], ["thinking", "text"])
        equal("stop reason", answer["stop_reason"], "end_turn")
        if not reply["ResponseMetadata"]["RequestId"]:
            sys.exit("no request id")


def events_of(reply):
    return [json.loads(event["chunk"]["bytes"]) for event in reply["body"]]


def stream(address):
    reply = client(address).invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(BODY))
    events = events_of(reply)
    kinds = [event["type"] for event in events]
    equal("first", kinds[0], "message_start")
    equal("last", kinds[-2:], ["message_delta", "message_stop"])
    equal("blocks", kinds.count("content_block_start"), 2)
    if events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] < 1:
        sys.exit("no metrics")
    text = "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
    if not text:
        sys.exit("no text")


# What the plan of faults says, what botocore makes of it.
REFUSALS = [
    ("status, code: 429", "ThrottlingException", 429),
    ("status, code: 429, kind: not_ready", "ModelNotReadyException", 429),
    ("status, code: 500", "InternalServerException", 500),
    ("status, code: 503", "ServiceUnavailableException", 503),
    ("status, code: 408", "ModelTimeoutException", 408),
    ("status, code: 424", "ModelErrorException", 424),
    ("status, code: 403", "AccessDeniedException", 403),
    ("status, code: 403, kind: expired", "ExpiredTokenException", 403),
    ("retired", "ResourceNotFoundException", 404),
    ("status, code: 400", "ValidationException", 400),
]
FRAMES = [
    ("throttlingException", "throttlingException"),
    ("modelStreamErrorException", "modelStreamErrorException"),
    ("internalServerException", "internalServerException"),
    ("validationException", "validationException"),
]


def plan(address, rule):
    request = urllib.request.Request(
        f"http://{address}/simulator/faults",
        data=("rules:" + (f"\n  - {{action: {rule}}}\n" if rule else " []\n")).encode(),
        method="PUT",
    )
    urllib.request.urlopen(request).close()


def refused(call, what, code, status):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        equal(what, error.response["Error"]["Code"], code)
        if status is not None:
            equal(what, error.response["ResponseMetadata"]["HTTPStatusCode"], status)
        if not error.response["Error"]["Message"]:
            sys.exit(what + ": no message")
        return error
    sys.exit(what + ": was not refused")


def errors(address):
    ours = client(address)
    try:
        for rule, code, status in REFUSALS:
            plan(address, rule)
            body = json.dumps(BODY)
            error = refused(
                lambda: ours.invoke_model(modelId=MODEL, body=body), rule, code, status
            )
            shape = getattr(ours.exceptions, code, None)
            if shape is not None and not isinstance(error, shape):
                sys.exit(f"{rule}: is no {shape}")
            refused(
                lambda: ours.invoke_model_with_response_stream(modelId=MODEL, body=body),
                rule + ", of a stream",
                code,
                status,
            )
        for name, code in FRAMES:
            plan(address, f"exception, type: {name}, after: 3")
            reply = ours.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(BODY))
            refused(lambda: events_of(reply), name, code, None)
        plan(address, "bad_crc, after: 2")
        reply = ours.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(BODY))
        try:
            events_of(reply)
            sys.exit("a wrong checksum was not seen")
        except botocore.eventstream.ChecksumMismatch:
            pass
    finally:
        plan(address, None)
    wrong = client(address, secret_key="wrong")
    refused(
        lambda: wrong.invoke_model(modelId=MODEL, body=json.dumps(BODY)),
        "wrong key",
        "InvalidSignatureException",
        403,
    )
    print(f"{2 * len(REFUSALS) + len(FRAMES) + 2} errors understood")


# --- its signer and its decoder ------------------------------------------------------------------


def check_signature(method, path, headers, body, service):
    """Raises unless botocore, given what was sent, signs the same. Returns the key's name."""
    sent = {name.lower(): value for name, value in headers.items()}
    kind, claims = sent["authorization"].split(" ", 1)
    claims = dict(claim.strip().split("=", 1) for claim in claims.split(","))
    access_key, date, region, scoped, end = claims["Credential"].split("/")
    names = claims["SignedHeaders"].split(";")
    equal("kind", (kind, scoped, end), ("AWS4-HMAC-SHA256", service, "aws4_request"))
    secret = KEYS[access_key]
    request = botocore.awsrequest.AWSRequest(
        method=method,
        url=f"https://{sent['host']}{path}",
        data=body,
        headers={name: sent[name] for name in names},
    )
    request.context["timestamp"] = sent["x-amz-date"]
    equal("date", sent["x-amz-date"][:8], date)
    auth = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials(access_key, secret), service, region
    )
    equal("signed headers", auth.signed_headers(auth.headers_to_sign(request)), claims["SignedHeaders"])
    if "x-amz-security-token" in sent and "x-amz-security-token" not in names:
        raise ValueError("the session token is not signed")
    signature = auth.signature(
        auth.string_to_sign(request, auth.canonical_request(request)), request
    )
    if signature != claims["Signature"]:
        raise ValueError(f"{claims['Signature']} is not {signature}")
    return access_key


ASSUMED = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/prism/me</Arn></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>AKIDSIMULATOR</AccessKeyId>
      <SecretAccessKey>simulator-secret</SecretAccessKey>
      <SessionToken>{SESSION}</SessionToken>
      <Expiration>2099-01-01T00:00:00Z</Expiration>
    </Credentials>
  </AssumeRoleResult>
  <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>
</AssumeRoleResponse>
"""


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def note(self, **what):
        with self.server.lock, open(self.server.folder + "/seen", "a") as seen:
            seen.write(json.dumps(what) + "\n")

    def reply(self, code, kind, body):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        service = "sts" if self.path == "/" else "bedrock"
        try:
            key = check_signature("POST", self.path, self.headers, body, service)
        except (Exception, SystemExit) as error:
            self.note(service=service, path=self.path, refused=str(error))
            self.reply(403, "application/json", b'{"message":"botocore signs otherwise"}')
            return
        if service == "sts":
            form = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
            self.note(service=service, key=key, action=form["Action"])
            self.reply(200, "text/xml", ASSUMED.encode())
        else:
            self.pass_on(key, body)

    def pass_on(self, key, body):
        behind = http.client.HTTPConnection(self.server.simulator, timeout=60)
        behind.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            behind.putheader(name, value)
        behind.endheaders(body)
        answer = behind.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date"):
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        decoder = botocore.eventstream.EventStreamBuffer()
        frames, bad = 0, None
        while True:
            piece = answer.read1(65536)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if not piece:
                break
            if answer.status == 200:
                decoder.add_data(piece)
                for event in decoder:
                    frames += 1
                    said = event.to_response_dict()
                    json.loads(said["body"])
                    if said["headers"].get(":event-type") != "chunk":
                        bad = said["headers"]
        behind.close()
        self.note(
            service="bedrock",
            key=key,
            token=self.headers.get("x-amz-security-token"),
            path=self.path,
            status=answer.status,
            frames=frames,
            bad=bad,
        )


def proxy(simulator, cert, key, folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.simulator, server.folder, server.lock = simulator, folder, threading.Lock()
    with open(folder + "/port.new", "w") as file:
        file.write(str(server.server_port))
    os.rename(folder + "/port.new", folder + "/port")
    server.serve_forever()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
