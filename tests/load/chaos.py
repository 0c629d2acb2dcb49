#!/usr/bin/python3
"""Processes are killed, frozen and emptied under overload; the oracle judges each run.

    chaos.py [ROW...]          without names: all; --list names them

Prints a table: most requests in any window and most at once beside what the design allows there, how
long after the disturbance calls were admitted again, and what was admitted outside of that time.
"""
import math
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from window import kill_limiter, offer  # noqa: E402
from world import C, GUARD, N, WINDOW, World, oracle  # noqa: E402

SCALE = 15
CYCLES = 5
LEASE = 15.0 / SCALE
CLOSURE = WINDOW / SCALE + GUARD
FROZEN = 4  # routers that are frozen at once
AHEAD = 0.4  # seconds a clock jumps; so much of the window is then granted twice


def freeze(process, seconds):
    process.signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.signal(signal.SIGCONT)


def freeze_routers(world, seconds):
    for router in world.routers[:FROZEN]:
        router.signal(signal.SIGSTOP)
    time.sleep(seconds)
    for router in world.routers[:FROZEN]:
        router.signal(signal.SIGCONT)


def kill_routers(world):
    for router in world.routers[:FROZEN]:
        router.kill()
    for router in world.routers[:FROZEN]:
        router.again()


def forget(world):
    """The limiter is killed and its state with it."""
    limiter = world.limiters[0]
    limiter.kill()
    for name in os.listdir(os.path.join(world.folder, 'state0')):
        os.unlink(os.path.join(world.folder, 'state0', name))
    limiter.again()


def ask_redis(world, *words):
    reply = world.redis.ask(*words)
    if not reply.startswith('+'):
        raise RuntimeError(f'redis-server says to {words}: {reply!r}')


def empty_redis(world):
    """Another one in its place, which has nothing."""
    world.redis.kill()
    for name in ('appendonlydir', 'appendonly.aof', 'dump.rdb'):
        path = os.path.join(world.folder, name)
        if os.path.isdir(path):
            for part in os.listdir(path):
                os.unlink(os.path.join(path, part))
        elif os.path.exists(path):
            os.unlink(path)
    world.redis.again()


def away_redis(world, seconds):
    world.redis.kill()
    time.sleep(seconds)
    world.redis.again()


def full_redis(world):
    ask_redis(world, 'CONFIG', 'SET', 'maxmemory', '1')
    time.sleep(1)
    ask_redis(world, 'CONFIG', 'SET', 'maxmemory', '0')


def worsen(links, seconds, **words):
    """Of the links for so long: delay, loss or cut."""
    for link in links:
        vars(link).update(words)
    time.sleep(seconds)
    for link in links:
        vars(link).update(delay=0.0, loss=0.0, cut=False)


MEMORY = dict(limiters=1)
REDIS = dict(limiters=3, redis=True)
FAR = dict(limiters=1, linked=True)
FAR_REDIS = dict(limiters=3, redis=True, linked=True)

# name: where, what is done, calls that may run beside C, seconds until calls are admitted again after
# it has ended.
ROWS = {
    'nothing': (MEMORY, lambda w: None, 0, 1),
    'limiter killed': (MEMORY, kill_limiter, 0, 2),
    'limiter killed, its state lost': (MEMORY, forget, 0, CLOSURE + 2),
    'limiter frozen for less than a lease': (
        MEMORY, lambda w: freeze(w.limiters[0], LEASE / 2), 0, 2),
    'limiter frozen for three leases': (MEMORY, lambda w: freeze(w.limiters[0], 3 * LEASE), 0, 2),
    '4 of 20 routers killed': (MEMORY, kill_routers, 0, 2),
    '4 of 20 routers frozen for three leases': (
        MEMORY, lambda w: freeze_routers(w, 3 * LEASE), FROZEN, 2),
    'provider frozen for a second': (MEMORY, lambda w: freeze(w.simulator, 1), 0, 2),
    'Redis: nothing': (REDIS, lambda w: None, 0, 1),
    'Redis: a limiter killed': (REDIS, kill_limiter, 0, 2),
    'Redis: a limiter frozen for three leases': (
        REDIS, lambda w: freeze(w.limiters[0], 3 * LEASE), 0, 2),
    'Redis: redis-server frozen for 2 s': (REDIS, lambda w: freeze(w.redis, 2), 0, 2),
    'Redis: CLIENT PAUSE of a second': (
        REDIS, lambda w: (ask_redis(w, 'CLIENT', 'PAUSE', '1000', 'ALL'), time.sleep(1)), 0, 2),
    'Redis: SCRIPT FLUSH': (REDIS, lambda w: ask_redis(w, 'SCRIPT', 'FLUSH'), 0, 1),
    'Redis: maxmemory hit for a second': (REDIS, full_redis, 0, 2),
    'Redis: killed, away for 4 s': (REDIS, lambda w: away_redis(w, 4), 0, 2),
    'Redis: its clock 0.4 s ahead': (REDIS, lambda w: w.redis.set_clock(AHEAD), 0, 2),
    'Redis: its clock 3 s back': (REDIS, lambda w: w.redis.set_clock(-3), 0, 5),
    'routers 20 ms away from the limiter': (
        FAR, lambda w: worsen(w.limiter_links, 3, delay=0.02), 0, 2),
    '3 % of pieces late between routers and limiter': (
        FAR, lambda w: worsen(w.limiter_links, 3, loss=0.03), 0, 2),
    'routers cut off from the limiter for three leases': (
        FAR, lambda w: worsen(w.limiter_links, 3 * LEASE, cut=True), 0, 2),
    'Redis: 20 ms away': (FAR_REDIS, lambda w: worsen(w.store_links, 3, delay=0.02), 0, 2),
    'Redis: 3 % of pieces late on the way to it': (
        FAR_REDIS, lambda w: worsen(w.store_links, 3, loss=0.03), 0, 2),
    'Redis: all limiters cut off from it for 3 s': (
        FAR_REDIS, lambda w: worsen(w.store_links, 3, cut=True), 0, 2),
    'Redis: one limiter cut off from it for 3 s': (
        FAR_REDIS, lambda w: worsen(w.store_links[:1], 3, cut=True), 0, 2),
    'Redis: FLUSHALL': (REDIS, lambda w: ask_redis(w, 'FLUSHALL'), 0, CLOSURE + 2),
    'Redis: killed, its data lost': (REDIS, empty_redis, 0, CLOSURE + 2),
}


# Arrivals that may be in a window beside N: what a clock that jumps forgets of it; what was on its
# way to a provider that did not look.
MORE = {
    'Redis: its clock 0.4 s ahead': math.ceil(N * AHEAD * SCALE / WINDOW),
    'provider frozen for a second': C,
}


def row(name):
    where, disturb, beside, patience = ROWS[name]
    window = 1000 * WINDOW / SCALE
    with World(scale=SCALE, **where) as world:
        flood, seconds = offer(world, CYCLES + (1 if patience > CLOSURE else 0), wait=1, stay=2000)
        begin = time.monotonic()
        time.sleep(seconds / 3)
        away = time.monotonic()
        disturb(world)
        ended = time.monotonic()
        world.finish(flood)
        world.settle()
        calls = world.arrivals()
        most, at_once = oracle.most_in_window(calls, window), oracle.most_at_once(calls)
        back = next((call.begin / 1000 for call in calls if call.begin > 1000 * ended), None)
        # The pause at the end of each window is nobody's outage.
        outages = [(1000 * away, 1000 * (back or begin + seconds))] if ended - away > 0.02 or \
            patience > CLOSURE else []
        share, _ = oracle.admitted_share(calls, N, window, 1000 * GUARD, 1000 * (begin + seconds),
                                         outages)
        allowed = N + MORE.get(name, 0)
        took = back - ended if back is not None else float('inf')
        ok = most <= allowed and at_once <= C + beside and took <= patience + GUARD
        world.failed |= not ok
    print(f'| {name} | {most} of {allowed} | {at_once} of {C}{f" + {beside}" if beside else ""} | '
          f"{took:.2f} of {patience:g} | {100 * share:.1f} % | {'yes' if ok else 'NO'} |", flush=True)
    return ok


def main(names):
    if names == ['--list']:
        print('\n'.join(ROWS))
        return 0
    print(f'20 routers, 10 times the load, windows of {WINDOW / SCALE:g} s, leases of {LEASE:g} s; '
          f'three limiters where it is Redis.\n')
    print('| what happens | most in a window | at once | s until calls are admitted again | admitted '
          'else | holds |\n|---|--:|--:|--:|--:|---|', flush=True)
    good = [row(name) for name in names or ROWS]
    return not all(good)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
