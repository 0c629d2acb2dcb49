"""Calls that wait: the times they are told, the shares of tenants, who comes first."""
import time

from verdict import Verdict
from world import GUARD, N, WINDOW, World, oracle

TRUTH = 0.25  # seconds a promise may be off


def eta(name, scale=10, cycles=4, routers=20, demand=2):
    """A run that only the request window binds: what callers were told that they would wait, beside
    how long they did. Of calls that were told an exact time once."""
    verdict = Verdict(name)
    window = WINDOW / scale
    with World(scale=scale, routers=routers,
               limiter=['--suite-concurrency=0', '--suite-tokens=0'],
               simulator=['--instant']) as world:
        seconds = cycles * (window + GUARD)
        flood = world.flood(rate=demand * N / window, seconds=seconds, wait=3 * window)
        said = [call for call in world.finish(flood) if call['admitted'] >= 0 and call['queued']]
        first, last, late = [], [], 0
        for call in said:
            promises = [at + wait for at, wait, exact, _ in call['queued'] if exact]
            if promises:
                first.append(abs(call['admitted'] - promises[0]))
                last.append(abs(call['admitted'] - promises[-1]))
                late += call['admitted'] > max(promises) + 1000 * TRUTH
        verdict.say(f'{len(said)} calls waited and were admitted, {len(first)} of them were told an '
                    f'exact time; the last told was off by p95 {oracle.percentile(last, 95):.0f} ms')
        off = oracle.percentile(first, 95)
        verdict.must('p95 of how far the first time told was off', off,
                     first and off <= 1000 * TRUTH, f'at most {1000 * TRUTH:g} ms', '{:.0f} ms')
        verdict.say(f'{late} were admitted later than the latest time they were told')
        most = oracle.most_in_window(world.arrivals(), 1000 * window)
        verdict.must(f'most in any {window:g} s', most, most <= N, f'at most {N}')
        world.failed |= not verdict.ok
    return verdict


def shares(name, scale=10, cycles=6, routers=20):
    """Two tenants of equal weight, one of which asks ten times as often, and a few urgent calls."""
    verdict = Verdict(name)
    window = WINDOW / scale
    with World(scale=scale, routers=routers) as world:
        seconds = cycles * (window + GUARD)
        # What `few` alone asks for is most of what there is. Nobody leaves before the end.
        flood = world.flood(rate=10 * N / window, seconds=seconds, wait=600,
                            **{'from': 'many:normal:10,few:normal:1,swift:urgent:0.2'})
        begin = 1000 * time.monotonic()
        time.sleep(seconds)
        flood.terminate()
        said = world.finish(flood)
        # From when both have waiters on.
        good = [c for c in said if begin + 1000 * window < c['admitted'] < begin + 1000 * seconds]
        plain = [c for c in good if c['class'] == 'normal']
        few = sum(1 for c in plain if c['tenant'] == 'few')
        share = 100 * few / max(1, len(plain))
        verdict.must('share of the tenant that asks a tenth as often', share, 45 <= share <= 55,
                     '50 % within 5', '{:.1f} %')
        urgent = [c['admitted'] - c['begin'] for c in good if c['class'] == 'urgent']
        normal = [c['admitted'] - c['begin'] for c in plain]
        verdict.must('median wait of urgent calls', oracle.percentile(urgent, 50),
                     urgent and oracle.percentile(urgent, 50) < oracle.percentile(normal, 50) / 4,
                     f'below a quarter of {oracle.percentile(normal, 50):.0f} ms, the others\'',
                     '{:.0f} ms')
        most = oracle.most_in_window(world.arrivals(), 1000 * window)
        verdict.must(f'most in any {window:g} s', most, most <= N, f'at most {N}')
        world.failed |= not verdict.ok
    return verdict
