"""Routers that are killed and a provider that fails: slots that come back, probes that are one."""
import random
import time

from verdict import Verdict
from world import C, MODEL, World, oracle

LEASE = 15.0  # seconds, before they are scaled
OPEN = 60.0   # a breaker's

STALL = 'rules:\n  - {action: stall, at: events, after: 2, for: 10m}\n'
FAIL = 'rules:\n  - {action: status, code: 500}\n'
NO_FAULTS = 'rules: []\n'


def await_arrivals(world, n, seconds):
    """The calls, once there are so many or the time is over."""
    until = time.monotonic() + seconds
    while True:
        calls = world.arrivals()
        if len(calls) >= n or time.monotonic() > until:
            return calls
        time.sleep(0.02)


def leaks(name, scale=5, rounds=10, routers=20, seed=20260101):
    """All slots are held by calls that never end; routers that hold some are killed at random. What
    was held is taken by others once its leases have run out."""
    verdict, dice = Verdict(name), random.Random(seed)
    allowed = LEASE / scale + 1
    with World(scale=scale, routers=routers, limiter=['--suite-requests=0'],
               router=['--busy-wait=300ms']) as world:
        world.faults(STALL)
        # No caller leaves, so that no slot is given back but by the end of its lease.
        flood = world.flood(rate=3, seconds=rounds * (allowed + 3), wait=600)
        await_arrivals(world, C, 30)
        took, killed, lost = [], 0, 0
        for _ in range(rounds):
            holders = [r for r in world.routers if r.metric('prism_router_leases') > 0]
            router = dice.choice(holders)
            held = int(router.metric('prism_router_leases'))
            before = len(world.arrivals())
            at = 1000 * time.monotonic()
            router.kill()
            killed += held
            later = [c.begin for c in await_arrivals(world, before + held, allowed + 5)[before:]]
            lost += max(0, held - len(later))
            took += [(begin - at) / 1000 for begin in later]
            router.again()
        flood.terminate()
        world.faults(NO_FAULTS)
        calls = world.arrivals()
        at_once = oracle.most_at_once(calls)
        verdict.must('most at once', at_once, at_once <= C, f'at most {C}')
        verdict.must(f'slots of {rounds} killed routers that were not back', lost, lost == 0, '0')
        verdict.say(f'{killed} calls ran at the routers that were killed')
        if took:
            verdict.must('longest until a slot was used again', max(took), max(took) <= allowed,
                         f'at most T + 1 = {allowed:g} s', '{:.2f} s')
        world.failed |= not verdict.ok
    return verdict


def probe(name, scale=20, routers=20, opens=6):
    """A provider that answers 500 to everybody: after the breaker has opened it sees one call a
    time of opening, whatever is offered, until it is well again."""
    verdict = Verdict(name)
    step = OPEN / scale
    with World(scale=scale, routers=routers, model={},
               limiter=['--suite-requests=0', '--suite-tokens=0']) as world:
        world.faults(FAIL)
        flood = world.flood(rate=50, seconds=step * (opens + 3), wait=step / 2, models=MODEL)
        begin = time.monotonic()
        time.sleep(step * (opens + 0.5))
        healed = 1000 * time.monotonic()
        world.faults(NO_FAULTS)
        world.finish(flood)
        world.settle()
        calls = world.arrivals()
        # Those that were on their way when the breaker opened come at once; then there is a pause.
        gaps = [(b.begin - a.begin, i + 1) for i, (a, b) in enumerate(zip(calls, calls[1:]))]
        first = next((i for gap, i in gaps if gap > 500 * step), len(calls))
        good = next((c for c in calls if c.begin > healed and c.outcome == 'ok'), None)
        probes = [c for c in calls[first:] if good is None or c.begin <= good.begin]
        verdict.say(f'{first} calls failed before the breaker opened, then {len(probes)} probes in '
                    f'{time.monotonic() - begin:.1f} s')
        verdict.must('probes at once', oracle.most_at_once(probes), oracle.most_at_once(probes) == 1,
                     '1')
        # Behind a probe whose caller left, which says nothing, the next may follow at once.
        least = min((b.begin - a.begin for a, b in zip(probes, probes[1:]) if a.outcome == 'failed'),
                    default=0)
        verdict.must('least time between two probes', least / 1000, least >= 1000 * step - 10,
                     f'at least {step:g} s', '{:.2f} s')
        verdict.must('probes', len(probes), len(probes) >= opens - 1, f'at least {opens - 1}')
        verdict.must('calls that were admitted after it was well again',
                     sum(1 for c in calls if good and c.begin > good.begin), good is not None,
                     'it recovers')
        world.failed |= not verdict.ok
    return verdict
