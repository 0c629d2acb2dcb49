"""The suite's window and slots under ten times the load, and what is done to it meanwhile."""
import time

from verdict import Verdict
from world import C, GUARD, N, WINDOW, World, oracle

OVERLOAD = 10  # times what the window allows is offered


def judge(verdict, world, until, outages=(), least=0.98):
    """Requests and slots of the suite, by what arrived. Times in seconds of CLOCK_MONOTONIC."""
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


def offer(world, cycles, wait=None, **words):
    """So many windows of load. Returns the flood and its seconds."""
    window = WINDOW / world.scale
    seconds = cycles * (window + GUARD) + 0.5
    flood = world.flood(rate=OVERLOAD * N / window, seconds=seconds, wait=wait or window / 4, **words)
    return flood, seconds


def prove(name, scale, cycles, disturb=None, least=0.98, answered=0.8, **options):
    """disturb(world) happens in the middle and returns the times between which nobody could be
    admitted. A call that is admitted too late for its caller's deadline is of no use: answered is
    the share of those that are."""
    verdict = Verdict(name)
    with World(scale=scale, **options) as world:
        flood, seconds = offer(world, cycles)
        begin = time.monotonic()
        outages = []
        if disturb is not None:
            time.sleep(seconds / 2)
            outages.append(disturb(world))
        said = world.finish(flood)
        world.settle()
        calls = judge(verdict, world, begin + seconds, outages, least)
        served = sum(1 for call in said if call['reason'] == '')
        verdict.say(f'{len(said)} calls offered to {len(world.routers)} routers, {len(calls)} arrived at '
                    'the provider' + ''.join(f', away for {b - a:.2f} s' for a, b in outages))
        verdict.must('whole answers, of those that arrived', 100 * served / max(1, len(calls)),
                     served >= answered * len(calls), f'at least {100 * answered:g} %', '{:.1f} %')
        world.failed |= not verdict.ok
    return verdict


RECONNECT = 2.0  # seconds that limiters may take to come back to a store that is there again


def kill_redis(world, away_seconds=0.5):
    """kill -9 of redis-server, and its return with all it had acknowledged."""
    away = time.monotonic()
    world.redis.kill()
    time.sleep(away_seconds)
    world.redis.again()
    back = time.monotonic()
    while time.monotonic() < back + RECONNECT and \
            not any(call.begin > 1000 * back for call in world.arrivals()):
        time.sleep(0.05)
    return away, time.monotonic()


def kill_limiter(world):
    """kill -9 of a limiter, and another on its state or store."""
    away = time.monotonic()
    world.limiters[0].kill()
    world.limiters[0].again()
    return away, time.monotonic()
