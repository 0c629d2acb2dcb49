// client.js VERB ADDRESS [ARGUMENT] makes one call of the published protos and prints what came of it
// as key=value lines; tests/clients/cases.sh says which verbs there are and judges the lines.
// PROTOS names the folder of the protos; stubs are made from them as it starts.
'use strict';

const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const TEXT =
    'Passwords are stored in plain text. The administration port has no authentication. ' +
    'Backups are not encrypted, and everybody who works here can read them.';
const TIMEOUT_MS = 20000;

const folders = [process.env.PROTOS, path.join(process.env.PROTOS, 'third_party')];
const loaded = grpc.loadPackageDefinition(
    protoLoader.loadSync(
        [
            'prism/router/v1/router.proto',
            'prism/analyzer/v1/analyzer.proto',
            'grpc/health/v1/health.proto',
            'grpc/reflection/v1/reflection.proto',
        ],
        { includeDirs: folders, keepCase: true, longs: Number, enums: String, oneofs: true, defaults: true },
    ),
);

// google.rpc's messages, which arrive as bytes.
const rpcTypes = new protobuf.Root();
rpcTypes.resolvePath = (_, target) =>
    folders.map((folder) => path.join(folder, target)).find((file) => fs.existsSync(file)) || target;
rpcTypes.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto']);

function print(...lines) {
    process.stdout.write(lines.map((line) => line + '\n').join(''));
}

const readers = {
    ErrorInfo: (d) => [`reason=${d.reason}`, `domain=${d.domain}`],
    RetryInfo: (d) => [`retry_ms=${Number(d.retryDelay.seconds) * 1000 + Math.floor(d.retryDelay.nanos / 1e6)}`],
    BadRequest: (d) => d.fieldViolations.map((v) => `field=${v.field}: ${v.description}`),
    QuotaFailure: (d) => d.violations.map((v) => `quota=${v.subject}: ${v.description}`),
    ResourceInfo: (d) => [`resource=${d.resourceType} ${d.resourceName}`],
};

// How a call ended, with what its details say.
function show(error) {
    print(`code=${grpc.status[error.code]}`);
    for (const bytes of error.metadata.get('grpc-status-details-bin')) {
        for (const detail of rpcTypes.lookupType('google.rpc.Status').decode(bytes).details) {
            const name = detail.type_url.split('/').pop();
            const reader = readers[name.split('.').pop()];
            print(...(reader ? reader(rpcTypes.lookupType(name).decode(detail.value)) : [`unreadable=${name}`]));
        }
    }
}

function metadataOf(id) {
    const metadata = new grpc.Metadata();
    metadata.set('x-request-id', id);
    return metadata;
}

const within = (ms) => ({ deadline: Date.now() + ms });

// One unary call.
function ask(client, method, request) {
    return new Promise((resolve, reject) => {
        client[method](request, within(TIMEOUT_MS), (error, reply) => (error ? reject(error) : resolve(reply)));
    });
}

// A stream to its end.
function read(stream, each) {
    return new Promise((resolve, reject) => {
        stream.on('data', each);
        stream.on('error', reject);
        stream.on('end', resolve);
    });
}

// The kinds of a stream's events, each run of one kind once.
class Events extends Array {
    add(event) {
        if (!['keep_alive', 'queued', this[this.length - 1]].includes(event.event)) {
            this.push(event.event);
        }
        return event.event;
    }
}

const generation = {
    thinking_budget_tokens: 1024,
    messages: [{ role: 'ROLE_USER', content: [{ text: TEXT }] }],
};

async function models(client) {
    const reply = await ask(client.router, 'ListModels', {});
    print(`models=${reply.models.length}`, `first=${reply.models[0].name}`);
}

function openGeneration(client, id, ms) {
    return client.router.Generate({ generation }, metadataOf(id), within(ms));
}

async function generate(client, id) {
    const seen = new Events();
    await read(openGeneration(client, id, TIMEOUT_MS), (event) => {
        if (seen.add(event) === 'completed') {
            print(`events=${seen.join(' ')}`, `simulated=${event.completed.metadata.simulated}`);
        }
    });
}

function deadline(client, id) {
    return read(openGeneration(client, id, 600), () => {});
}

function cancel(client, id) {
    const stream = openGeneration(client, id, TIMEOUT_MS);
    return read(stream, (event) => {
        if (event.event === 'thinking_delta') {
            stream.cancel();
        }
    });
}

async function analyze(client, id) {
    const seen = new Events();
    const request = { section: { content: Buffer.from(TEXT) } };
    await read(client.analyzer.AnalyzeSection(request, metadataOf(id), within(TIMEOUT_MS)), ({ event }) => {
        if (seen.add(event) === 'section_result') {
            const result = event.section_result;
            print(`outcome=${result.outcome}`, `level=${result.risk_level}`, `findings=${result.findings.length}`);
        }
    });
    print(`events=${seen.join(' ')}`);
}

const badRequest = (client) => ask(client.router, 'GenerateOnce', {});
const unknown = (client) => ask(client.router, 'GetModel', { name: 'models/none' });

async function health(client, service) {
    print(`health=${(await ask(client.health, 'Check', { service })).status}`);
}

async function reflect(client) {
    const stream = client.reflection.ServerReflectionInfo(within(TIMEOUT_MS));
    stream.write({ list_services: '' });
    stream.write({ file_containing_symbol: 'prism.router.v1.RouterService' });
    stream.end();
    const descriptor = require('protobufjs/ext/descriptor');
    await read(stream, (reply) => {
        for (const service of reply.list_services_response?.service ?? []) {
            print(`service=${service.name}`);
        }
        for (const bytes of reply.file_descriptor_response?.file_descriptor_proto ?? []) {
            for (const service of descriptor.FileDescriptorProto.decode(bytes).service) {
                print(...service.method.map((method) => `method=${method.name}`));
            }
        }
    });
}

const verbs = {
    models, compressed: models, retry: models, generate, deadline, cancel, analyze,
    bad_request: badRequest, unknown, health, reflect,
};

async function main() {
    const [verb, address, argument = ''] = process.argv.slice(2);
    if (!verbs[verb] || !address) {
        console.error('usage: client.js VERB ADDRESS [ARGUMENT]');
        process.exit(2);
    }
    const options = { 'grpc.enable_http_proxy': 0 };
    if (verb === 'retry') {
        options['grpc.service_config'] = fs.readFileSync(argument, 'utf8');
    }
    if (verb === 'compressed') {
        options['grpc.default_compression_algorithm'] = grpc.compressionAlgorithms.gzip;
    }
    const make = (Client) => new Client(address, grpc.credentials.createInsecure(), options);
    const client = {
        router: make(loaded.prism.router.v1.RouterService),
        analyzer: make(loaded.prism.analyzer.v1.AnalyzerService),
        health: make(loaded.grpc.health.v1.Health),
        reflection: make(loaded.grpc.reflection.v1.ServerReflection),
    };
    try {
        await verbs[verb](client, argument);
        print('code=OK');
    } catch (error) {
        if (!(error.metadata instanceof grpc.Metadata)) {
            throw error;
        }
        show(error);
    }
    Object.values(client).forEach((one) => one.close());
}

main();
