"""client.py VERB ADDRESS [ARGUMENT] makes one call of the published protos and prints what came of it
as key=value lines; tests/clients/cases.sh says which verbs there are and judges the lines.
"""
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import code_pb2, error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from prism.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc
from prism.router.v1 import call_pb2, router_pb2, router_pb2_grpc

TEXT = ('Passwords are stored in plain text. The administration port has no authentication. '
        'Backups are not encrypted, and everybody who works here can read them.')
TIMEOUT = 20


def show(error):
    """How a call ended, with what its details say."""
    print(f'code={error.code().name}')
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            print(f'reason={info.reason}\ndomain={info.domain}')
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo.FromString(detail.value)
            print(f'retry_ms={retry.retry_delay.ToMilliseconds()}')
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            for violation in error_details_pb2.BadRequest.FromString(detail.value).field_violations:
                print(f'field={violation.field}: {violation.description}')
        elif detail.Is(error_details_pb2.QuotaFailure.DESCRIPTOR):
            for violation in error_details_pb2.QuotaFailure.FromString(detail.value).violations:
                print(f'quota={violation.subject}: {violation.description}')
        elif detail.Is(error_details_pb2.ResourceInfo.DESCRIPTOR):
            resource = error_details_pb2.ResourceInfo.FromString(detail.value)
            print(f'resource={resource.resource_type} {resource.resource_name}')
        else:
            print(f'unreadable={detail.type_url}')


def list_models(channel, compression=None):
    reply = router_pb2_grpc.RouterServiceStub(channel).ListModels(
        router_pb2.ListModelsRequest(), timeout=TIMEOUT, compression=compression)
    print(f'models={len(reply.models)}\nfirst={reply.models[0].name}')


def models(channel, _):
    list_models(channel)


def compressed(channel, _):
    list_models(channel, grpc.Compression.Gzip)


class Events(list):
    """The kinds of a stream's events, each run of one kind once."""

    def add(self, event):
        kind = event.WhichOneof('event')
        if kind not in ('keep_alive', 'queued') and self[-1:] != [kind]:
            self.append(kind)
        return kind


def open_generation(channel, request_id, timeout=TIMEOUT):
    message = router_pb2.Message(role=call_pb2.ROLE_USER, content=[call_pb2.ContentBlock(text=TEXT)])
    generation = router_pb2.Generation(thinking_budget_tokens=1024, messages=[message])
    return router_pb2_grpc.RouterServiceStub(channel).Generate(
        router_pb2.GenerateRequest(generation=generation), timeout=timeout,
        metadata=[('x-request-id', request_id)])


def generate(channel, request_id):
    seen = Events()
    for event in open_generation(channel, request_id):
        if seen.add(event) == 'completed':
            print(f'events={" ".join(seen)}\nsimulated={str(event.completed.metadata.simulated).lower()}')


def deadline(channel, request_id):
    for _ in open_generation(channel, request_id, timeout=0.6):
        pass


def cancel(channel, request_id):
    call = open_generation(channel, request_id)
    for event in call:
        if event.WhichOneof('event') == 'thinking_delta':
            call.cancel()


def analyze(channel, request_id):
    seen = Events()
    request = analyzer_pb2.AnalyzeSectionRequest(section=analyzer_pb2.Document(content=TEXT.encode()))
    for response in analyzer_pb2_grpc.AnalyzerServiceStub(channel).AnalyzeSection(
            request, timeout=TIMEOUT, metadata=[('x-request-id', request_id)]):
        if seen.add(response.event) == 'section_result':
            result = response.event.section_result
            print(f'outcome={analyzer_pb2.Outcome.Name(result.outcome)}')
            print(f'level={analyzer_pb2.RiskLevel.Name(result.risk_level)}\nfindings={len(result.findings)}')
    print(f'events={" ".join(seen)}')


def bad_request(channel, _):
    router_pb2_grpc.RouterServiceStub(channel).GenerateOnce(router_pb2.GenerateOnceRequest(), timeout=TIMEOUT)


def unknown(channel, _):
    router_pb2_grpc.RouterServiceStub(channel).GetModel(
        router_pb2.GetModelRequest(name='models/none'), timeout=TIMEOUT)


def health(channel, service):
    reply = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
    print(f'health={health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}')


def reflect(channel, _):
    database = ProtoReflectionDescriptorDatabase(channel)
    for service in database.get_services():
        print(f'service={service}')
    found = DescriptorPool(database).FindServiceByName('prism.router.v1.RouterService')
    for method in found.methods:
        print(f'method={method.name}')


VERBS = {verb.__name__: verb for verb in (
    models, compressed, generate, deadline, cancel, analyze, bad_request, unknown, health, reflect)}
VERBS['retry'] = models


def main():
    verb, address, argument = (sys.argv[1:] + ['', '', ''])[:3]
    if verb not in VERBS:
        sys.exit('usage: client.py VERB ADDRESS [ARGUMENT]')
    options = [('grpc.enable_http_proxy', 0)]
    if verb == 'retry':
        with open(argument, encoding='utf-8') as file:
            options.append(('grpc.service_config', file.read()))
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            VERBS[verb](channel, argument)
            print(f'code={code_pb2.Code.Name(0)}')
        except grpc.RpcError as error:
            show(error)


main()
