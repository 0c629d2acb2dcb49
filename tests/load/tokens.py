"""A model's tokens at four times the demand: nothing is refused by the provider, and as much gets
through as a client would get that knows everything before it happens.

That client is played here by the provider's rule (services/simulator/quota.h, written once more): it
begins its next call in the very moment in which the provider would not refuse it. Its calls are those
that the limiter admitted, in their order, with the lengths they had.
"""
import time

from verdict import Verdict
from world import GUARD, MODEL, MODEL_ID, WINDOW, World, oracle

QUOTA = 120000
BURN = 5
DEMAND = 4
EXPECTED = 300

# Long answers that reserve much more than they use, and short ones.
SHAPES = (dict(thinking=2000, max=2048, pad=4000), dict(thinking=0, max=1024, pad=4000))
COST = 1900  # of one in the mean: only for the rate that is offered

STEP = 20.0  # milliseconds between two looks of the client that knows everything
WARM, LONG = 3, 23  # windows; it is measured between them


class Sliding:
    """What was taken counts for a window."""

    def __init__(self, quota, window):
        self.quota, self.window, self.entries, self.used = quota, window, [], 0

    def take(self, amount, now):
        entry = [now, amount]
        self.entries.append(entry)
        self.used += amount
        return entry

    def give_back(self, entry, amount, now):
        if now - entry[0] < self.window:
            entry[1] -= amount
            self.used -= amount

    def left(self, now):
        while self.entries and now - self.entries[0][0] >= self.window:
            self.used -= self.entries.pop(0)[1]
        return self.quota - self.used


class Bucket:
    """A window's worth flows in evenly, up to what flows in in `burst` of it."""

    def __init__(self, quota, window, burst=1.0):
        self.rate, self.most, self.level, self.at = quota / window, quota * burst, quota * burst, 0.0

    def left(self, now):
        self.level = min(self.most, self.level + self.rate * (now - self.at))
        self.at = now
        return self.level

    def take(self, amount, now):
        self.left(now)
        self.level -= amount

    def give_back(self, _entry, amount, now):
        self.level = min(self.most, self.left(now) + amount)


def clairvoyant(law, window, shapes):
    """Tokens a window, in the long run."""
    running, n, settled, now = [], 0, 0, 0.0
    while now < LONG * window:
        for call in [call for call in running if call[0] <= now]:
            end, shape, entry, held, begin = call
            cost = shape.input + BURN * shape.output
            if cost <= held:
                law.give_back(entry, held - cost, now)
            else:
                law.take(cost - held, now)
            settled += cost if WARM * window <= begin else 0
            running.remove(call)
        for call in running:  # each token that goes out is taken off the reservation
            end, shape, entry, held, begin = call
            part = (now - begin) / (end - begin)
            keep = shape.input + shape.cache_read + shape.max_tokens - int(part * shape.output)
            if keep < held:
                law.give_back(entry, held - keep, now)
                call[3] = keep
        while True:
            shape = shapes[n % len(shapes)]
            wanted = shape.input + shape.cache_read + shape.max_tokens
            if law.left(now) < wanted:
                break
            entry = law.take(wanted, now)
            running.append([now + shape.end - shape.begin, shape, entry, wanted, now])
            n += 1
        now += STEP
    return settled / (LONG - WARM)


def prove(name, refill, scale=2, cycles=4, routers=20, least=0.95):
    verdict = Verdict(name)
    window = WINDOW / scale
    none = ['--suite-requests=0', '--suite-concurrency=0', '--suite-tokens=0']
    told = {'tokens_per_minute': QUOTA, 'expected_output': EXPECTED}
    with World(scale=scale, routers=routers, limiter=none, model=told) as world:
        world.put('/simulator/quotas', f'quotas:\n  - {{model: {MODEL_ID}, refill: {refill}, '
                  f'tokens_per_minute: {QUOTA}, burndown: {BURN}}}\n')
        seconds = cycles * (window + GUARD) + 1
        rate = DEMAND * QUOTA / COST / window / len(SHAPES)
        floods = [world.flood(rate=rate, seconds=seconds, wait=window / 4, stay=60000,
                              models=MODEL, **shape)
                  for shape in SHAPES]
        begin = time.monotonic()
        offered = sum(len(world.finish(flood)) for flood in floods)
        world.settle(60)
        calls = world.arrivals()
        refused = oracle.throttled(calls)
        verdict.must('refused by the provider', len(refused), not refused, '0')
        # Whole windows of the limiter after the first, which begins with nothing used.
        cycle = 1000 * (window + GUARD)
        first = calls[0].begin
        counted = int((1000 * (begin + seconds) - first) / cycle)
        settled = sum(c.settled for c in calls if first + cycle <= c.begin < first + counted * cycle)
        got = settled / (counted - 1) / cycle * 1000 * window  # in a window of the provider
        law = Sliding if refill == 'sliding_minute' else Bucket
        shapes = [c for c in calls if c.outcome == 'ok']
        bound = clairvoyant(law(QUOTA, 1000 * window), 1000 * window, shapes)
        verdict.say(f'{offered} calls offered, {len(calls)} arrived; quota {QUOTA} tokens a minute, '
                    f'burndown {BURN}, {refill}')
        verdict.say(f'who knows everything gets {bound:.0f} a minute '
                    f'({100 * bound / QUOTA:.1f} % of the quota), we got {got:.0f} '
                    f'({100 * got / QUOTA:.1f} %)')
        verdict.must('of what a clairvoyant client gets', 100 * got / bound, got >= least * bound,
                     f'at least {100 * least:g} %', '{:.1f} %')
        world.failed |= not verdict.ok
    return verdict
