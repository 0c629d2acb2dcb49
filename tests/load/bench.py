#!/usr/bin/python3
"""What the limiter costs on this machine, as Markdown tables.

    bench.py [ROUNDS]          of each point, interleaved; shown are medians, and least..most

A decision is an Acquire or a Complete, each over a model, a tenant's pool and the suite's, at limits
that never refuse. The limiter has one core, the generator (prismctl bench) and redis-server the other.
Callers share one connection, with Attach one stream; redis-server writes no file. Beside them stand
figures of others, taken on a machine of this class.
"""
import os
import re
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import BIN, OUT, World  # noqa: E402

SPAN = '1200ms'
CALLERS = (1, 8, 64)
RATE = 5000  # decisions a second, open loop
EAGER = '--busy-poll-us=100'

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


def generator(world, limiter, kind, callers, rate=0, attach=0):
    command = [os.path.join(BIN, 'prismctl'), '-o', 'text', '--limiter', limiter.address,
               '--processes', f'limiter={limiter.popen.pid}', '--warmup', '300ms', '--duration', SPAN,
               '--callers', str(callers), '--rate', str(rate), '--attach', str(attach),
               'bench', kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=world.environment,
                            preexec_fn=lambda: os.sched_setaffinity(0, {1 % os.cpu_count()}))


def members_of(popen):
    """What prismctl bench has measured; calls that failed are its member `errors`."""
    text = popen.communicate()[0]
    members = {key: float(value) for key, value in
               (line.split(' ', 1) for line in text.splitlines() if ' ' in line)
               if re.fullmatch(r'[-0-9.e+]+', value)}
    if popen.returncode != 0 and not members.get('errors'):
        raise RuntimeError(f'{" ".join(popen.args)}: {text}')
    return members


def bench(world, kind, callers, rate=0, attach=0):
    """One run, and how the limiter's CPU time fell to its threads."""
    limiter = world.limiters[0]
    before = threads(limiter.popen.pid)
    members = members_of(generator(world, limiter, kind, callers, rate, attach))
    if members.get('errors'):
        raise RuntimeError(f"{members['errors']:.0f} calls of {kind} failed")
    after = threads(limiter.popen.pid)
    spent = {name: after[name] - before.get(name, 0) for name in after}
    whole = sum(spent.values()) or 1
    members['shares'] = {name: spent[name] / whole for name in spent}
    return members


def scripts_run(world):
    """Calls of the script that Redis has counted, and the microseconds in them."""
    found = [re.search(r'calls=(\d+),usec=(\d+)', line) for line in
             world.redis.ask('INFO', 'commandstats').splitlines() if line.startswith('cmdstat_eval')]
    return sum(int(m.group(1)) for m in found), sum(int(m.group(2)) for m in found)


def decided(world):
    return sum(limiter.metric('prism_limiter_acquires_total') +
               limiter.metric('prism_limiter_reports_total') for limiter in world.limiters)


def together(world, callers):
    """All limiters of a group at once, with so many callers among them."""
    calls, usec = scripts_run(world)
    before = decided(world)
    each = max(1, callers // len(world.limiters))
    runs = [generator(world, limiter, 'limiter', each) for limiter in world.limiters]
    found = [members_of(run) for run in runs]
    after = decided(world) - before
    more_calls, more_usec = scripts_run(world)
    return {'decisions': 2 * sum(members['per_second'] for members in found),
            'errors': sum(members['errors'] for members in found),
            'p50_us': max(members['p50_us'] for members in found),
            'p99_us': max(members['p99_us'] for members in found),
            'trips': (more_calls - calls) / after, 'redis': (more_usec - usec) / after}


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


def attached(world):
    """The points of one limiter over a session, one round."""
    found = {callers: derive(bench(world, 'limiter', callers, attach=1), 2)
             for callers in CALLERS[1:]}
    found['rate'] = derive(bench(world, 'limiter', 64, RATE / 2, attach=1), 2)
    return found


def home(world, eager):
    """The points of one limiter in its home, one round; eager: of one that looks before it sleeps."""
    found = {}
    for callers in CALLERS:
        found['echo', callers] = derive(bench(world, 'echo', callers), 1)
        found['limiter', callers] = derive(bench(world, 'limiter', callers), 2)
    found['echo', 'rate'] = derive(bench(world, 'echo', 64, RATE), 1)
    found['limiter', 'rate'] = derive(bench(world, 'limiter', 64, RATE / 2), 2)
    found.update({('attach', point): members for point, members in attached(world).items()})
    found.update({('eager', point): members for point, members in attached(eager).items()})
    return found


def table(title, rounds, engine):
    print(f'\n**{title}**\n')
    print('| in flight | decisions/s | p50 ms | p99 ms of Acquire + Complete | CPU µs a decision: '
          'gRPC\'s threads + loop, an empty call + the limiter (engine) |')
    print('|--:|--:|--:|--:|---|')
    for point, name in [*((n, str(n)) for n in CALLERS), ('rate', f'{RATE}/s, open loop')]:
        these = [found['limiter', point] for found in rounds]
        empty = [found['echo', point] for found in rounds]
        own = max(0.0, median(these, 'loop') - median(empty, 'loop'))
        print(f"| {name} | {spread(these, 'decisions', form='{:.0f}')} | "
              f"{spread(these, 'p50_us', 1000)} | {spread(these, 'p99_us', 1000)} | "
              f"{median(these, 'cpu'):.0f}: {median(these, 'grpc'):.0f} + "
              f"{median(empty, 'loop'):.0f} + {own:.0f} ({engine / 1000:.2f}) |")
    for how, word in (('attach', 'Attach'), ('eager', f'Attach, {EAGER}')):
        for point, name in [*((n, str(n)) for n in CALLERS[1:]), ('rate', f'{RATE}/s, open loop')]:
            these = [found[how, point] for found in rounds]
            print(f"| {name}, {word} | {spread(these, 'decisions', form='{:.0f}')} | "
                  f"{spread(these, 'p50_us', 1000)} | {spread(these, 'p99_us', 1000)} | "
                  f"{median(these, 'cpu'):.0f}: {median(these, 'grpc'):.0f} + "
                  f"{median(these, 'loop'):.0f} of the loop |")


def ratio(homes):
    print('\n**Beside others**: thousand decisions a second\n')
    print('| | 8 in flight | 64 in flight on one connection | 8 callers | 64 callers | CPU µs a '
          'decision, with 8 and 64 |\n|---|--:|--:|--:|--:|--:|')
    ways = {'limiter': '{}, 3 resources', 'attach': '{}, over Attach, as routers ask',
            'eager': '{}, over Attach, ' + EAGER}
    best = []
    for name, rounds in homes.items():
        for how, words in ways.items():
            points = {n: [found[how, n] for found in rounds] for n in CALLERS[1:]}
            eight, many = (median(these, 'decisions') / 1000 for these in points.values())
            cpu = ', '.join(f"{median(these, 'cpu'):.0f}" for these in points.values())
            best.append((words.format(name), eight, many))
            print(f'| prism-limiter, {words.format(name)} | {eight:.1f} | {many:.1f} | | | {cpu} |')
    for name, eight, many, one, spent in OTHERS:
        print(f'| {name}, 1 counter | | {one} | {eight} | {many} | {spent} |')
    _, eight, _, one, _ = OTHERS[0]
    print()
    for name, ours, many in best:
        print(f'{name}: {ours / eight:.2f} of envoyproxy/ratelimit with 8, {many / one:.2f} with 64 '
              f'on one connection.')


class Pinned(World):
    def begin(self):
        super().begin()
        for limiter in self.limiters:
            pin(limiter.popen.pid, 0)
        if self.redis:
            pin(self.redis.popen.pid, 1)


def start(**options):
    """A world without routers, with limits that never refuse."""
    world = Pinned(routers=0, durable=False, **options)
    policy = os.path.join(world.folder, 'policy.yaml')
    with open(policy, 'w', encoding='utf-8') as file:
        file.write(POLICY)
    world.flags['limiter'] += [f'--policy={policy}', '--records=4194304']
    return world


def groups(rounds):
    """One to three limiters on one redis-server."""
    print('\n**Limiters on one redis-server**\n')
    print('| limiters | in flight, all together | decisions/s | p50 ms | p99 ms of Acquire + Complete, '
          'worst limiter | script calls a decision | µs of Redis a decision | calls that failed |')
    print('|--:|--:|--:|--:|--:|--:|--:|--:|')
    for n in (1, 2, 3):
        with start(limiters=n, redis=True) as world:
            found = [{callers: together(world, callers) for callers in CALLERS if callers >= n}
                     for _ in range(rounds)]
        for callers in found[0]:
            these = [each[callers] for each in found]
            print(f"| {n} | {callers} | {spread(these, 'decisions', form='{:.0f}')} | "
                  f"{spread(these, 'p50_us', 1000)} | {spread(these, 'p99_us', 1000)} | "
                  f"{median(these, 'trips'):.2f} | {median(these, 'redis'):.1f} | "
                  f"{sum(each['errors'] for each in these):.0f} |", flush=True)


def main(arguments):
    rounds = int(arguments[0]) if arguments else 3
    engine = engine_cost()
    homes = {}
    for name, redis in (('memory', False), ('Redis', True)):
        with start(redis=redis) as world, start(redis=redis, limiter=[EAGER]) as eager:
            homes[name] = [home(world, eager) for _ in range(rounds)]
    print(f'{os.cpu_count()} cores; medians of {rounds} rounds of {SPAN}, least..most.')
    print(f"\nEngine alone, three resources: {engine['grant_ns']:.0f} ns a grant, "
          f"{engine['report_ns']:.0f} ns a report, {engine['refusal_ns']:.0f} ns a refusal.")
    each = (engine['grant_ns'] + engine['report_ns']) / 2
    table('One limiter, memory (with its file)', homes['memory'], each)
    table('One limiter, Redis', homes['Redis'], each)
    groups(rounds)
    ratio(homes)
    with open('/proc/loadavg', encoding='ascii') as file:
        print(f'\nLoad average at the end: {file.read().split()[0]}.')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
