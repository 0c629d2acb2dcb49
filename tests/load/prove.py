#!/usr/bin/python3
"""What the limiter promises, shown with real processes and judged by the simulator's arrival log.

    prove.py [PROOF...]        without names: all; --list names them

Each prints what it measured and what it had to be, and fails when it was not.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import C, GUARD, N, WINDOW, World, oracle  # noqa: E402

OVERLOAD = 10  # times what the window allows is offered


class Verdict:
    """Figures of one proof, and whether they are what they must be."""

    def __init__(self, name):
        self.name = name
        self.ok = True

    def say(self, text):
        print(f'# {self.name}: {text}', flush=True)

    def must(self, what, value, good, wanted, form='{}'):
        self.ok &= bool(good)
        self.say(f"{what}: {form.format(value)} ({'' if good else 'NOT '}{wanted})")


def judge_window(verdict, world, until, outages=(), least=0.98):
    """Requests and slots of the suite, by what arrived."""
    calls = world.arrivals()
    window = 1000 * WINDOW / world.scale
    most = oracle.most_in_window(calls, window)
    verdict.must(f'most in any {window / 1000:g} s', most, most <= N, f'at most {N}')
    at_once = oracle.most_at_once(calls)
    verdict.must('most at once', at_once, at_once <= C, f'at most {C}')
    share, counted = oracle.admitted_share(calls, N, window, 1000 * GUARD, 1000 * until,
                                           [(1000 * a, 1000 * b) for a, b in outages])
    verdict.must(f'admitted in {counted / 1000:.1f} s, of what the window allows', 100 * share,
                 share >= least, f'at least {100 * least:g} %', '{:.1f} %')
    return calls


def settle(world, seconds=30):
    """Until nothing runs at the provider any more."""
    until = time.monotonic() + seconds
    while world.simulator.metric('prism_simulator_running') > 0 and time.monotonic() < until:
        time.sleep(0.05)


def offer(world, cycles, wait=None):
    """So many windows of load, OVERLOAD times what they allow. Returns flood and its seconds."""
    window = WINDOW / world.scale
    seconds = cycles * (window + GUARD) + 0.5
    return world.flood(rate=OVERLOAD * N / window, seconds=seconds, wait=wait or window / 4), seconds


def window(name, scale, cycles, disturb=None, least=0.98, **options):
    """The suite's window and slots under overload; disturb(world) happens in the middle and returns
    the times between which nobody could be admitted."""
    verdict = Verdict(name)
    with World(scale=scale, **options) as world:
        flood, seconds = offer(world, cycles)
        begin = time.monotonic()
        outages = []
        if disturb is not None:
            time.sleep(seconds / 2)
            outages.append(disturb(world))
        said = world.finish(flood)
        settle(world)
        calls = judge_window(verdict, world, begin + seconds, outages, least)
        served = sum(1 for call in said if call['reason'] == '')
        verdict.say(f'{len(said)} calls offered to {len(world.routers)} routers, {served} answered, '
                    f'{len(calls)} arrived at the provider'
                    + ''.join(f', away for {b - a:.2f} s' for a, b in outages))
        world.failed |= not verdict.ok
    return verdict


def kill_limiter(world):
    """kill -9 of a limiter, and another on its state or store."""
    away = time.monotonic()
    world.limiters[0].kill()
    world.limiters[0].again()
    return away, time.monotonic()


PROOFS = {
    'memory': lambda: window('memory', scale=10, cycles=10),
    'limiter-killed': lambda: window('limiter-killed', scale=10, cycles=10, disturb=kill_limiter),
    'real-time': lambda: window('real-time', scale=1, cycles=3),
}


def main(names):
    if names == ['--list']:
        print('\n'.join(PROOFS))
        return 0
    verdicts = [PROOFS[name]() for name in names or PROOFS]
    for verdict in verdicts:
        print(f"{'ok' if verdict.ok else 'not ok'} - {verdict.name}", flush=True)
    return any(not verdict.ok for verdict in verdicts)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
