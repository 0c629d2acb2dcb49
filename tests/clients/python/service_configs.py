"""Judges the published service configs: each method they name is one of the protos beside them, no
call gets a timeout (some clients let it fire early), and what is retried is a refusal.

service_configs.py FILE...
"""
import importlib
import json
import pathlib
import sys

from google.protobuf import descriptor_pool

faults = 0


def judge(file):
    folder = pathlib.Path(file).parent.relative_to('proto')
    for proto in pathlib.Path('proto', folder).glob('*.proto'):
        importlib.import_module('.'.join(folder.parts) + f'.{proto.stem}_pb2')
    with open(file, encoding='utf-8') as text:
        config = json.load(text)
    for method in config['methodConfig']:
        if 'timeout' in method:
            yield 'a timeout'
        if method['retryPolicy']['retryableStatusCodes'] != ['UNAVAILABLE']:
            yield 'retries more than UNAVAILABLE'
        for name in method['name']:
            service = descriptor_pool.Default().FindServiceByName(name['service'])
            if 'method' in name and name['method'] not in service.methods_by_name:
                yield f"no method {name['service']}/{name['method']}"
    if 'healthCheckConfig' in config:
        descriptor_pool.Default().FindServiceByName(config['healthCheckConfig']['serviceName'])


for path in sys.argv[1:]:
    for fault in judge(path):
        print(f'{path}: {fault}')
        faults += 1
print(f'{len(sys.argv) - 1} files')
sys.exit(faults > 0 or len(sys.argv) == 1)
