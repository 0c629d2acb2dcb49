#!/usr/bin/python3
"""What the limiter costs on this machine, as Markdown tables.

    bench.py [ROUNDS]          of each point, interleaved; shown are medians, and least..most

A decision is an Acquire or a Complete, each over a model, a tenant's pool and the suite's, at limits
that never refuse. The limiter has one core, the generator (prismctl bench) and redis-server the other.
Callers share one connection. Beside them stand figures of others, taken on a machine of this class.
"""
import os
import re
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import BIN, OUT, World  # noqa: E402

SPAN = '1500ms'
CALLERS = (1, 8, 64)
RATE = 5000  # decisions a second, open loop

# Measured on two cores, one for the server, one for the generator and Redis; one hot key, one
# decision a call over one counter: thousands a second with 8 callers, 64, and 64 in flight on one
# connection; CPU microseconds of the server a decision.
OTHERS = (
    ('envoyproxy/ratelimit, Redis', 13.4, 14.3, 20.3, '49-73'),
    ('gubernator, memory', 16.3, 17.0, 21.1, '-'),
    ('limitador, memory', 46.9, 52.0, 77.0, '12-21'),
)

POLICY = 'suite: {tokens: 1_000_000_000_000}\ntenant_default: {tokens: 1_000_000_000_000}\n'


def pin(pid, core):
    for task in os.listdir(f'/proc/{pid}/task'):
        try:
            os.sched_setaffinity(int(task), {core % os.cpu_count()})
        except OSError:
            pass


def threads(pid):
    """Nanoseconds of CPU by thread: the loop, the wire, and gRPC's own."""
    used = {}
    for task in os.listdir(f'/proc/{pid}/task'):
        try:
            with open(f'/proc/{pid}/task/{task}/comm', encoding='ascii') as file:
                name = file.read().strip()
            with open(f'/proc/{pid}/task/{task}/schedstat', encoding='ascii') as file:
                spent = int(file.read().split()[0])
        except OSError:
            continue
        name = 'loop' if int(task) == pid else name if name == 'wire' else 'grpc'
        used[name] = used.get(name, 0) + spent
    return used


def bench(world, kind, callers, rate=0):
    """One run of prismctl bench: its members, and how the limiter's CPU time fell to its threads."""
    limiter = world.limiters[0]
    command = [os.path.join(BIN, 'prismctl'), '-o', 'text', '--limiter', limiter.address,
               '--processes', f'limiter={limiter.popen.pid}', '--warmup', '300ms', '--duration', SPAN,
               '--callers', str(callers), '--rate', str(rate), 'bench', kind]
    before = threads(limiter.popen.pid)
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=world.environment, check=False,
                         preexec_fn=lambda: os.sched_setaffinity(0, {1 % os.cpu_count()}))
    if ran.returncode != 0:
        raise RuntimeError(f'{" ".join(command)}: {ran.stdout}{ran.stderr}')
    after = threads(limiter.popen.pid)
    members = {key: float(value) for key, value in
               (line.split(' ', 1) for line in ran.stdout.splitlines() if ' ' in line)
               if re.fullmatch(r'[-0-9.e+]+', value)}
    spent = {name: after[name] - before.get(name, 0) for name in after}
    whole = sum(spent.values()) or 1
    members['shares'] = {name: spent[name] / whole for name in spent}
    return members


def engine_cost():
    """Nanoseconds of the engine alone."""
    ran = subprocess.run([os.path.join(OUT, 'test', 'engine_cost')], text=True, check=True,
                         stdout=subprocess.PIPE)
    return {key: float(value) for key, value in (line.split() for line in ran.stdout.splitlines())}


# --- points -----------------------------------------------------------------------------------------

def median(rounds, key):
    return statistics.median(members[key] for members in rounds)


def spread(rounds, key, by=1.0, form='{:.2f}'):
    values = [members[key] / by for members in rounds]
    return f'{form.format(statistics.median(values))} ({form.format(min(values))}..' \
           f'{form.format(max(values))})'


def derive(members, calls):
    """Decisions and what one costs; calls: of each thing that is measured."""
    members['decisions'] = members['per_second'] * calls
    members['cpu'] = members['cpu_us.limiter'] / calls
    members['loop'] = members['cpu'] * members['shares'].get('loop', 0)
    members['grpc'] = members['cpu'] - members['loop']
    return members


def home(world):
    """The points of one limiter in its home, one round."""
    found = {}
    for callers in CALLERS:
        found['echo', callers] = derive(bench(world, 'echo', callers), 1)
        found['limiter', callers] = derive(bench(world, 'limiter', callers), 2)
    found['echo', 'rate'] = derive(bench(world, 'echo', 64, RATE), 1)
    found['limiter', 'rate'] = derive(bench(world, 'limiter', 64, RATE / 2), 2)
    return found


def table(title, rounds, engine):
    print(f'\n**{title}**\n')
    print('| in flight | decisions/s | p50 ms | p99 ms of Acquire + Complete | CPU µs a decision: '
          'gRPC\'s threads + loop, an empty call + the limiter (engine) |')
    print('|--:|--:|--:|--:|---|')
    for point, name in [(n, str(n)) for n in CALLERS] + [('rate', f'{RATE}/s, open loop')]:
        these = [found['limiter', point] for found in rounds]
        empty = [found['echo', point] for found in rounds]
        own = max(0.0, median(these, 'loop') - median(empty, 'loop'))
        print(f"| {name} | {spread(these, 'decisions', form='{:.0f}')} | "
              f"{spread(these, 'p50_us', 1000)} | {spread(these, 'p99_us', 1000)} | "
              f"{median(these, 'cpu'):.0f}: {median(these, 'grpc'):.0f} + "
              f"{median(empty, 'loop'):.0f} + {own:.0f} ({engine / 1000:.2f}) |")


def ratio(rounds):
    best = [median([found['limiter', n] for found in rounds], 'decisions') / 1000 for n in CALLERS]
    print('\n| thousand decisions a second | 8 in flight | 64 | theirs: 8 callers | 64 | 64 on one '
          'connection | CPU µs a decision |')
    print('|---|--:|--:|--:|--:|--:|--:|')
    cpu = median([found['limiter', 64] for found in rounds], 'cpu')
    print(f'| prism-limiter, memory, 3 resources | {best[1]:.1f} | {best[2]:.1f} | | | | {cpu:.0f} |')
    for name, eight, many, one, spent in OTHERS:
        print(f'| {name} | | | {eight} | {many} | {one} | {spent} |')
    _, eight, _, one, _ = OTHERS[0]
    print(f'\nOurs to envoyproxy/ratelimit: {best[1] / eight:.2f} with 8, {best[2] / one:.2f} with 64 '
          f'on one connection.')


def start(**options):
    world = World(routers=0, **options)
    policy = os.path.join(world.folder, 'policy.yaml')
    with open(policy, 'w', encoding='utf-8') as file:
        file.write(POLICY)
    world.flags['limiter'] += [f'--policy={policy}', '--records=4194304']
    world.__enter__()
    for limiter in world.limiters:
        pin(limiter.popen.pid, 0)
    if world.redis:
        pin(world.redis.popen.pid, 1)
    return world


def main(arguments):
    rounds = int(arguments[0]) if arguments else 3
    engine = engine_cost()
    world = start()
    try:
        memory = [home(world) for _ in range(rounds)]
    finally:
        world.__exit__(None, None, None)
    with open('/proc/loadavg', encoding='ascii') as file:
        load = file.read().split()[0]
    print(f'{os.cpu_count()} cores, load average {load} at the end; medians of {rounds} rounds of '
          f'{SPAN}, least..most.')
    print(f"\nEngine alone, three resources: {engine['grant_ns']:.0f} ns a grant, "
          f"{engine['report_ns']:.0f} ns a report, {engine['refusal_ns']:.0f} ns a refusal.")
    each = (engine['grant_ns'] + engine['report_ns']) / 2
    table('One limiter, memory (with its file)', memory, each)
    ratio(memory)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
