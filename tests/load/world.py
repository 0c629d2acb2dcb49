"""The suite as processes of this machine for proofs under load: a simulator, limiters, routers, a
redis-server where one is asked for, and flood, which offers the calls. Standard library only.

    with World(scale=15, routers=20) as world:
        flood = world.flood(rate=100, seconds=30, wait=1.0)
        ...
        world.finish(flood)
        calls = world.arrivals()

Everything listens on 127.0.0.1 and dies with this process. Files are in a folder of their own below
PRISM_OUT, which is left where something failed.
"""
import ctypes
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'model'))
import oracle  # noqa: E402

from link import Link  # noqa: E402

OUT = os.environ.get('PRISM_OUT', os.path.join(ROOT, 'out', 'release'))
BIN = os.environ.get('PRISM_BIN', os.path.join(OUT, 'bin'))
START_SECONDS = 60

WINDOW = 60.0  # seconds, as the policy has it by default
GUARD = 0.5
N = 30
C = 5

MODEL, MODEL_ID, REGIONS = 'sonnet-4.6', 'us.anthropic.claude-sonnet-4-6', '[us-east-2, us-west-2]'

LIBC = ctypes.CDLL(None)


def die_with_parent():
    LIBC.prctl(1, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Process:
    def __init__(self, world, name, program, flags):
        self.world, self.name, self.program, self.flags = world, name, program, flags
        self.ready = os.path.join(world.folder, name + '.ready')
        self.port = self.admin = 0
        self.popen = None

    def start(self):
        if os.path.exists(self.ready):
            os.unlink(self.ready)
        command = [os.path.join(BIN, self.program), f'--listen=127.0.0.1:{self.port}',
                   f'--admin=127.0.0.1:{self.admin}', '--drain=1s', f'--ready-file={self.ready}',
                   '--log-level=warn', *self.flags]
        with open(os.path.join(self.world.folder, self.name + '.log'), 'ab') as log:
            self.popen = subprocess.Popen(command, stdout=log, stderr=log, env=self.world.environment,
                                          stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        return self

    def await_ready(self):
        until = time.monotonic() + START_SECONDS
        while not (os.path.exists(self.ready) and os.path.getsize(self.ready)):
            if self.popen.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f'{self.name} does not serve; its log: {self.world.folder}')
            time.sleep(0.005)
        with open(self.ready, encoding='ascii') as file:
            ports = dict(line.strip().split('=') for line in file if '=' in line)
        self.port = int(ports.get('grpc') or ports['http'])
        self.admin = int(ports['admin'])
        return self

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def again(self):
        """Started once more on its ports and files; returns when it serves."""
        return self.start().await_ready()

    def signal(self, number):
        self.popen.send_signal(number)

    def stop(self):
        if self.popen is None or self.popen.poll() is not None:
            return
        self.popen.send_signal(signal.SIGCONT)
        self.popen.terminate()
        try:
            self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def address(self):
        return f'127.0.0.1:{self.port}'

    def metric(self, name, labels=''):
        """The sum of all samples whose labels contain this text."""
        url = f'http://127.0.0.1:{self.admin}/metrics'
        with urllib.request.urlopen(url, timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.rsplit(' ', 1)[1]) for line in lines
                   if line.split('{')[0].split(' ')[0] == name and labels in line)


class Redis:
    """A redis-server; durable: it writes every change to its file before it answers. Its wall clock
    can be set."""

    def __init__(self, folder, durable):
        self.folder, self.durable = folder, durable
        self.port = free_port()
        self.popen = None
        clock = os.path.join(folder, 'clock')
        with open(clock, 'wb') as file:
            file.write(bytes(8))
        with open(clock, 'r+b') as file:
            self.clock = mmap.mmap(file.fileno(), 8)
        self.environment = dict(os.environ, CLOCK_AHEAD=clock,
                                LD_PRELOAD=os.path.join(OUT, 'test', 'clock_ahead.so'))

    def set_clock(self, seconds):
        """It is ahead by so much from now on."""
        self.clock[:] = struct.pack('<q', int(seconds * 1000000))

    def start(self):
        flags = ['--port', str(self.port), '--bind', '127.0.0.1', '--dir', self.folder, '--save', '',
                 '--maxmemory-policy', 'noeviction',
                 '--appendonly', 'yes' if self.durable else 'no', '--appendfsync', 'always']
        with open(os.path.join(self.folder, 'redis.log'), 'ab') as log:
            self.popen = subprocess.Popen(['redis-server', *flags], stdout=log, stderr=log,
                                          env=self.environment, stdin=subprocess.DEVNULL,
                                          preexec_fn=die_with_parent)
        return self

    def ask(self, *words):
        """One command; its reply as it came, '' when nobody answers."""
        text = b''.join(b'$%d\r\n%s\r\n' % (len(word), word) for word in map(str.encode, words))
        try:
            with socket.create_connection(('127.0.0.1', self.port), 1) as link:
                link.sendall(b'*%d\r\n' % len(words) + text)
                return link.recv(65536).decode(errors='replace')
        except OSError:
            return ''

    def await_ready(self):
        until = time.monotonic() + START_SECONDS
        while not self.ask('PING').startswith('+PONG'):
            if time.monotonic() > until:
                raise RuntimeError('redis-server does not serve')
            time.sleep(0.01)
        return self

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def again(self):
        return self.start().await_ready()

    def signal(self, number):
        self.popen.send_signal(number)

    def stop(self):
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.kill()


class World:
    """scale: windows, cooldowns, leases and models are so many times faster; guard, use_by and
    jitter are not. Flags are lists and stand behind those that every run has. model: what the
    catalogue says of the first tier besides; it then has one region only. linked: each limiter
    reaches its redis-server, and routers each limiter, over a Link of its own."""

    def __init__(self, scale=1, routers=20, limiters=1, redis=False, durable=True, limiter=(),
                 router=(), simulator=(), model=None, linked=False):
        self.scale, self.linked = scale, linked
        self.store_links, self.limiter_links = [], []
        self.folder = tempfile.mkdtemp(prefix='load.', dir=OUT)
        self.environment = {key: value for key, value in os.environ.items()
                            if not key.startswith(('PRISM_', 'AWS_'))}
        self.environment.update(AWS_ACCESS_KEY_ID='AKIDSIMULATOR',
                                AWS_SECRET_ACCESS_KEY='simulator-secret')
        self.flags = {'limiter': list(limiter), 'router': list(router), 'simulator': list(simulator)}
        if model is not None:
            for name in ('limiter', 'router'):
                self.flags[name].append('--catalogue=' + self.catalogue(model))
        self.redis = Redis(self.folder, durable) if redis else None
        self.count = {'limiter': limiters, 'router': routers}
        self.simulator, self.limiters, self.routers, self.floods = None, [], [], []
        self.failed = False

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.failed = True
            self.stop()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.failed |= kind is not None
        self.stop()

    def begin(self):
        self.log = os.path.join(self.folder, 'arrivals.jsonl')
        self.simulator = Process(self, 'simulator', 'prism-simulator', [
            f'--speed={self.scale}', f'--arrivals={self.log}', *self.flags['simulator']]).start()
        if self.redis:
            self.redis.start().await_ready()
        for i in range(self.count['limiter']):
            self.limiters.append(Process(self, f'limiter{i}', 'prism-limiter',
                                         self.limiter_flags(i)).start())
        for process in (self.simulator, *self.limiters):
            process.await_ready()
        # Whoever follows a process that was killed has to know from the state.
        for process in self.limiters:
            process.flags = [flag for flag in process.flags if flag != '--assume-new-store']
        if self.linked:
            self.limiter_links = [Link(process.port) for process in self.limiters]
        for i in range(self.count['router']):
            self.routers.append(Process(self, f'router{i}', 'prism-router',
                                        self.router_flags(i)).start())
        for process in self.routers:
            process.await_ready()

    def catalogue(self, model):
        with open(os.path.join(ROOT, 'libs', 'catalogue', 'default.yaml'), encoding='utf-8') as file:
            head, rest = file.read().split(f'- name: {MODEL}\n', 1)
        rows = ''.join(f'    {key}: {value}\n' for key, value in model.items())
        path = os.path.join(self.folder, 'catalogue.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(f'{head}- name: {MODEL}\n{rows}' + rest.replace(REGIONS, '[us-east-2]', 1))
        return path

    def limiter_flags(self, i):
        if self.redis and self.linked:
            self.store_links.append(Link(self.redis.port))
            home = ['--store=redis', f'--redis={self.store_links[-1].address}']
        elif self.redis:
            home = ['--store=redis', f'--redis=127.0.0.1:{self.redis.port}']
        else:
            state = os.path.join(self.folder, f'state{i}')
            os.mkdir(state)
            home = [f'--state-dir={state}']
        return [f'--time-scale={self.scale}', '--assume-new-store', *home, *self.flags['limiter']]

    def router_flags(self, i):
        # Several limiters are several authorities for a router: each begins with another one.
        reached = self.limiter_links or self.limiters
        order = reached[i % len(reached):] + reached[:i % len(reached)]
        return ['--bedrock-endpoint=http://' + self.simulator.address, '--ledger=',
                '--limiter=' + ','.join(there.address for there in order),
                f'--renew={max(50, 5000 // self.scale)}ms',
                f'--fence-guard={max(20, 1000 // self.scale)}ms',
                f'--backoff={max(10, 5000 // self.scale)}ms',
                f'--backoff-most={max(10, 40000 // self.scale)}ms',
                f'--busy-wait={max(20, 1000 // self.scale)}ms', *self.flags['router']]

    def stop(self):
        for flood in self.floods:
            if flood.poll() is None:
                flood.kill()
                flood.wait()
        running = [p for p in (*self.routers, *self.limiters, self.simulator) if p]
        for process in running:
            if process.popen and process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.terminate()
        for process in running:
            process.stop()
        if self.redis:
            self.redis.stop()
        if self.failed:
            print(f'# logs are kept in {self.folder}', flush=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- load and what came of it ---------------------------------------------------------------

    def flood(self, rate, seconds, wait, routers=None, **words):
        """Begins to offer calls; see tests/load/flood.c. Times in seconds."""
        targets = ','.join(process.address for process in routers or self.routers)
        command = [os.path.join(OUT, 'test', 'flood'), f'to={targets}', f'rate={rate}',
                   f'for={int(seconds * 1000)}', f'wait={int(wait * 1000)}',
                   *(f'{key}={value}' for key, value in words.items())]
        said = os.path.join(self.folder, f'flood{len(self.floods)}.jsonl')
        with open(said, 'wb') as out, open(said + '.log', 'wb') as log:
            popen = subprocess.Popen(command, stdout=out, stderr=log, env=self.environment,
                                     stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        popen.said = said
        self.floods.append(popen)
        return popen

    def finish(self, flood, seconds=600):
        """Waits for its end; what its callers saw, in the order they were due."""
        code = flood.wait(seconds)
        if code != 0:
            self.failed = True
            raise RuntimeError(f'flood ended with {code}; see {flood.said}.log')
        with open(flood.said, encoding='utf-8') as file:
            return sorted((json.loads(line) for line in file), key=lambda call: call['n'])

    def arrivals(self):
        with open(self.log, encoding='utf-8') as file:
            return oracle.read(file)

    def settle(self, seconds=30):
        """Until nothing runs at the provider any more."""
        until = time.monotonic() + seconds
        while self.simulator.metric('prism_simulator_running') > 0 and time.monotonic() < until:
            time.sleep(0.05)

    def put(self, path, yaml):
        """A plan for the simulator, which replaces the one before."""
        request = urllib.request.Request(f'http://{self.simulator.address}{path}', method='PUT',
                                         data=yaml.encode())
        urllib.request.urlopen(request, timeout=10).read()

    def faults(self, yaml):
        self.put('/simulator/faults', yaml)
