#!/usr/bin/python3
"""The limiter in C against its reference model: the same random events, the same replies. Once its
engine in memory; once whole limiters that share a redis-server, each event at one of them; once
these without waiting for each other, also while connections break, where the model follows them in
the order in which the store took their steps.

TAP on stdout. PRISM_OUT names the build (default out/release), PRISM_EVENTS how many events there
are in all for the engine, PRISM_STORED_EVENTS for each of the others, PRISM_SEED where the
sequence begins. A difference is shrunk to few events, which are printed as they can be fed to both.
"""
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import limiter  # noqa: E402

TESTS = os.path.join(os.environ.get('PRISM_OUT', 'out/release'), 'test')
EVENTS = int(os.environ.get('PRISM_EVENTS', '100000'))
STORED_EVENTS = int(os.environ.get('PRISM_STORED_EVENTS', str(EVENTS // 4)))
SEED = int(os.environ.get('PRISM_SEED', '20260101'))
SHRINK_SECONDS = 60

CHANGING = 'limits change and operators interfere'
WAITING = {'who waits at one limiter': 1, 'who waits at three limiters': 3,
           'who waits at two limiters for everything': 2}

# name, kind, requests, tokens, window, concurrency, burst, interval, cooldown
WORLDS = {
    'the suite as it is by default': (900, [
        'suite pool 30 120000 60000 5 5 2000 0', 'tenant pool 0 0 0 0 0 0 0',
        'm0 model 0 0 60000 0 0 0 60000', 'm1 model 0 0 60000 0 0 0 30000',
        'm2 model 0 0 60000 0 0 0 30000']),
    'every limit everywhere': (600, [
        'suite pool 20 100000 20000 8 0 0 0', 'tenant pool 7 60000 30000 3 3 1500 0',
        'm0 model 10 50000 10000 3 0 0 5000', 'm1 model 10 50000 10000 3 3 900 5000',
        'm2 model 12 40000 60000 4 0 0 2000']),
    'rings': (150, [
        'suite pool 100 400000 60000 0 0 0 0', 'tenant pool 0 300000 40000 0 0 0 0',
        'm0 model 65 0 30000 64 10 460 5000', 'm1 model 0 90000 60000 10 0 0 3000',
        'm2 model 70 90000 7000 9 5 100 3000']),
    'small windows': (120, [
        'suite pool 64 0 1000 1 0 0 0', 'tenant pool 1 5000 700 0 0 0 0',
        'm0 model 0 20000 600 0 0 0 100', 'm1 model 2 20000 900 1 2 450 100',
        'm2 model 0 0 0 0 0 0 100']),
    CHANGING: (300, [
        'suite pool 30 120000 60000 5 0 0 0', 'tenant pool 0 0 0 0 0 0 0',
        'm0 model 10 50000 10000 3 0 0 5000', 'm1 model 70 90000 7000 9 5 100 3000',
        'm2 model 0 0 0 0 0 0 100']),
    'who waits at one limiter': (500, [
        'suite pool 30 120000 60000 5 5 2000 0', 'tenant pool 12 60000 30000 3 3 1500 0',
        'm0 model 0 0 60000 0 0 0 5000', 'm1 model 10 50000 10000 3 0 0 5000',
        'm2 model 0 0 60000 4 0 0 3000']),
    'who waits at three limiters': (300, [
        'suite pool 20 100000 20000 0 5 1000 0', 'tenant pool 7 60000 30000 3 0 0 0',
        'm0 model 0 0 60000 0 0 0 2000', 'm1 model 0 0 60000 0 0 0 2000',
        'm2 model 12 40000 60000 4 0 0 2000']),
    'who waits at two limiters for everything': (150, [
        'suite pool 70 400000 20000 8 3 280 0', 'tenant pool 0 100000 10000 0 0 0 0',
        'm0 model 10 50000 10000 3 0 0 1000', 'm1 model 65 0 30000 64 10 460 1000',
        'm2 model 0 90000 7000 1 0 0 1000']),
}
STORED = {      # name -> a world of above, limiters
    'one limiter with a redis-server': ('every limit everywhere', 1),
    'three limiters on one redis-server': ('the suite as it is by default', 3),
    'three limiters on one redis-server, every limit': ('every limit everywhere', 3),
    'three limiters on one redis-server, rings': ('rings', 3),
    'three limiters on one redis-server, limits change': (CHANGING, 3),
}
TOGETHER = {    # the same, asked without waiting for each other; steps between cuts of connections
    'three limiters together': ('the suite as it is by default', 3, 0),
    'three limiters together, every limit': ('every limit everywhere', 3, 0),
    'three limiters together, rings': ('rings', 3, 0),
    'three limiters together, limits change': (CHANGING, 3, 0),
    'three limiters together, replies are lost': ('every limit everywhere', 3, 40),
}


class Driver:
    """Makes events that are worth asking about, from what the model answers."""

    def __init__(self, world, seed):
        self.trace, self.stores = 'limiter_trace', 0
        together = ''
        if world in STORED or world in TOGETHER:
            self.trace = 'limiter_trace_redis'
            world, self.stores, *cuts = STORED.get(world) or TOGETHER[world]
            together = ''.join(' together %d' % cut for cut in cuts)
        self.pause, rows = WORLDS[world]
        self.changing = world == CHANGING
        self.limiters = WAITING.get(world, 0)
        self.random = random.Random(seed)
        self.model = limiter.Limiter()
        self.lines, self.replies, self.asked = [], [], []
        self.now, self.step, self.next_id, self.epoch = 1000000, 0, 0, 0
        self.waiting = {}       # id -> the words of its acquire
        self.calls = []         # grants, the late ones too: [id, model, tenant, fence,
                                # session, seq of the suite, epoch]
        if self.limiters > 1:
            self.lines.append('Q %d' % self.limiters)
            self.model.queues = [limiter.Queue() for _ in range(self.limiters)]
            self.model.shared = True
        if self.stores:
            self.lines.append('S %d%s' % (self.stores, together))
            self.model.share_store(self.stores)
        for row in rows:
            words = row.split()
            self.lines.append('R ' + row)
            self.model.resources[words[0]] = limiter.Resource(
                words[0], words[1] == 'model', *map(int, words[2:]))

    def acquire(self):
        r = self.random
        if self.calls and r.random() < 0.05:    # again, sometimes by somebody else
            call, _, tenant, _, session = r.choice(self.calls)[:5]
            session += r.randrange(2)
        else:
            call, tenant, session = self.next_id, r.randrange(4 if self.limiters else 2), r.randrange(2)
            self.next_id += 1
        wait = self.limiters and r.random() < 0.8
        deadline = self.now + r.choice([500, 5000, 60000, 600000]) if wait else 0
        first, n = r.randrange(3), r.randint(1, 3)
        most = r.choice([130000] + 7 * [12000])
        charges = [(r.randint(1, most), r.randint(1, most)) for _ in range(n)]
        candidates = ' '.join('m%d %d %d %d %d' % (
            (first + i) % 3, model, pool, model // 2, pool // 3)
            for i, (model, pool) in enumerate(charges))
        return 'A %d %d %d %d %d %d %d %d %d %s' % (
            self.step, self.now, call, session, tenant, r.choice([0, 1, 1, 1, 2, 3]),
            r.choice([0, 1, 3]), deadline, n, candidates)

    def leave(self):
        waiters = self.model.queues[self.step % max(1, self.limiters)].waiters
        call = self.random.choice(waiters).call if waiters else 0
        return 'G %d %d %s' % (self.step, self.now, call)

    def report(self):
        r = self.random
        if r.random() < 0.05:                   # of an id that is not known
            call, model, tenant = self.next_id, 'm%d' % r.randrange(3), r.randrange(2)
            self.next_id += 1
        else:
            call, model, tenant = r.choice(self.calls)[:3]
        bad_times = self.step // 400 % 3 == 0
        outcome = limiter.FAILED if bad_times and r.random() < 0.5 else r.choice(
            6 * [limiter.OK] + [limiter.CALLER, limiter.LEFT, limiter.THROTTLED, limiter.FAILED])
        if r.random() < 0.0003:
            outcome = limiter.GONE
        undispatched = r.random() < 0.1
        return 'C %d %d %d %s %d %d %d %d %d %d %d %d' % (
            self.step, self.now, call, model, tenant, outcome,
            r.randrange(r.choice([3000, 20000])), r.randrange(r.choice([3000, 20000])),
            r.random() < 0.1, r.choice(15 * [0] + [r.randrange(90000)]), r.randrange(3),
            undispatched)

    def renew(self):
        r = self.random
        call, model, tenant, fence, session, seq, epoch = r.choice(self.calls)
        fence += r.random() < 0.02
        seq = 0 if self.stores else seq + 100000 * (r.random() < 0.01)
        output = r.randrange(r.choice([100, 3000, 20000]))
        return 'N %d %d %d %d %d %s %d %d %d %d' % (
            self.step, self.now, session, call, fence, model, tenant, 5 * output, output,
            seq if epoch == self.epoch else 0)

    def order(self):
        """Of operators. What is closed does not stay so for long."""
        r = self.random
        closed = [n for n, x in self.model.resources.items() if x.closed or x.gone]
        name = r.choice(sorted(self.model.resources))
        what, force = r.choice(['close', 'breaker', 'reopen']), r.random() < 0.1
        if closed and (not self.changing or r.random() < 0.8):
            what, name = 'reopen', r.choice(closed)
        return 'O %d %d %s %s %d' % (self.step, self.now, what, name, force)

    def limit(self):
        r = self.random
        name = r.choice(sorted(self.model.resources))
        requests, tokens = r.choice([0, 0, 5, 30, 64, 65, 200]), r.choice([0, 0, 20000, 200000])
        return 'L %d %d %s %d %d %d %d %d %d %d' % (
            self.step, self.now, name, requests, tokens, r.choice([600, 7000, 60000]),
            r.choice([0, 1, 4, 10, 64]), r.randrange(4), r.choice([0, 0, 500]),
            self.model.resources[name].version + r.choice([0, 1, 1, 1, 1]))

    def event(self):
        kind = self.random.random()
        if self.limiters and self.random.random() < 0.15:
            return self.leave() if kind < 0.2 else 'T %d %d' % (self.step, self.now)
        if self.changing and kind < 0.02:
            return self.limit() if kind < 0.012 else self.order()
        if kind < 0.02 and any(x.gone for x in self.model.resources.values()):
            return self.order()
        if kind < 0.45 or not self.calls:
            return self.acquire()
        return self.report() if kind < 0.8 else self.renew()

    def learn(self, line, reply):
        words, said = line.split(), reply.split()
        if words[0] == 'A' and said[2] == 'queued':
            self.waiting[words[3]] = words
        if words[0] == 'A' and said[2] == 'granted':
            seq = next(j.split(':')[-1] for j in said if j.startswith('suite:'))
            self.calls.append([int(words[3]), words[10 + 5 * int(said[3])], int(words[5]),
                               int(said[7]), int(words[4]), int(seq), self.epoch])
            if len(self.calls) > 40:
                self.calls.pop(self.random.randrange(len(self.calls)))
        if words[0] == 'C' and self.random.random() < 0.5:
            self.calls = [c for c in self.calls if c[0] != int(words[3])]
        if words[0] == 'A' and said[2] == 'refused' and self.random.random() < 0.05:
            told = int(said[4])
            if self.now < told < self.now + 30000:
                self.now = told - self.random.randrange(2)

    def run(self, events):
        r = self.random
        while len(self.replies) < events:
            self.step += 1 + r.randrange(max(self.limiters, self.stores, 1))
            self.now += r.randrange(self.pause * (20 if r.random() < 0.02 else 1))
            if not self.stores and r.random() < 0.001:      # our clock falls back
                self.now -= 5000
            if not self.stores and r.random() < 0.0005:
                what = r.choice('ZE')
                self.lines.append('%s %d %d 60500' % (what, self.step, self.now))
                self.model.lose(str(self.step), self.now, 60500, what == 'Z')
                self.step += 1
                self.epoch += 1
            batch = [self.event() for _ in range(r.choice([1, 1, 1, 1, 2, 5]))]
            words = [b.split() for b in batch]
            replies, more = limiter.take_step(self.model, str(self.step), words)
            self.asked += [len(self.lines) + min(i, len(batch) - 1)
                           for i in range(len(replies + more))]
            self.lines += batch
            self.replies += replies + more
            for line, reply in zip(batch, replies):
                self.learn(line, reply)
            for reply in more:
                said = reply.split()
                if said[0] == 'W':
                    self.learn(' '.join(self.waiting.pop(said[1])), reply)
                elif said[0] == 'X' and r.random() < 0.3:
                    wake = int(said[1])
                    if self.now < wake < self.now + 10000:
                        self.now = wake - r.randrange(2)


def run_engine(trace, lines):
    return subprocess.run([os.path.join(TESTS, trace)], input='\n'.join(lines) + '\n',
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)


def run_model(lines):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'limiter.py')
    return subprocess.run([sys.executable, script], input='\n'.join(lines) + '\n',
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)


def differs(trace, lines):
    engine, model = run_engine(trace, lines), run_model(lines)
    return model.returncode == 0 and (engine.returncode != 0 or engine.stdout != model.stdout)


def shrink(trace, lines):
    """Leaves out whatever can be left out while the two still differ."""
    end = time.monotonic() + SHRINK_SECONDS
    size = len(lines) // 2
    while size > 0:
        at = 0
        while at < len(lines) and time.monotonic() < end:
            fewer = lines[:at] + [l for l in lines[at:at + size] if l[0] in 'RQS'] + lines[at + size:]
            if len(fewer) < len(lines) and differs(trace, fewer):
                lines = fewer
            else:
                at += size
        size //= 2
    return lines


def compare(driver):
    """None, or what to print about the first difference."""
    engine = run_engine(driver.trace, driver.lines)
    said = engine.stdout.splitlines()
    if engine.returncode == 0 and said == driver.replies:
        return None
    asked = driver.asked
    first = next((i for i, (a, b) in enumerate(zip(said, driver.replies)) if a != b), len(said))
    last = asked[min(first, len(asked) - 1)] + 16    # its step is whole
    lines = driver.lines[:last]
    few = shrink(driver.trace, lines) if differs(driver.trace, lines) else lines[-20:]
    return ['reply %d of %d: %s' % (first, len(asked), driver.lines[asked[first]]
                                    if first < len(asked) else ''),
            'model:  %s' % (driver.replies[first] if first < len(driver.replies) else ''),
            'engine: %s' % (said[first] if first < len(said) else ''),
            'ended with %d %s' % (engine.returncode, engine.stderr[-1000:])] + few


def committed(said):
    """The steps that were decided together, in the order in which they were: [seq, wrote, events]."""
    steps = {}
    for event, reply in zip(said[0::2], said[1::2]):
        seq, wrote, stamp, *words = event.split()
        step = steps.setdefault(stamp, [int(seq), int(wrote), []])
        step[2].append((words, reply))
    steps = sorted(steps.values(), key=lambda step: (step[0], not step[1]))
    free = set(range(1, max(step[0] for step in steps) + 1)) - {s[0] for s in steps if s[1] == 1}
    for step in steps:
        if step[1] == 2:    # its own reply was lost: what it wrote is the last that nobody else did
            step[0] = max(seq for seq in free if seq <= step[0])
            free.remove(step[0])
    return sorted(steps, key=lambda step: (step[0], not step[1]))


def compare_together(driver):
    """None, or what to print about the first difference: the steps, asked of the model in their
    order, have the same replies, and each that wrote is one number behind the one before, but for the
    limiters' signs of life, which nobody asks for."""
    engine = run_engine(driver.trace, driver.lines)
    said, last = engine.stdout.splitlines(), 0
    events = sum(line[0] not in 'SR' for line in driver.lines)
    if engine.returncode != 0 or len(said) != 2 * events + 1:
        return ['ended with %d after %d of %d events: %s' % (
            engine.returncode, len(said) // 2, events, engine.stderr[-1000:])]
    signs = int(said.pop())
    model = limiter.Limiter()
    model.share_store(driver.stores)
    for line in driver.lines:
        if line[0] == 'R':
            words = line.split()
            model.resources[words[1]] = limiter.Resource(words[1], words[2] == 'model',
                                                         *map(int, words[3:]))
    for number, (seq, wrote, pairs) in enumerate(committed(said), 1):
        batch = [[words[0], str(number)] + words[1:] for words, _ in pairs]
        while last < seq - (wrote != 0):
            last, signs = last + 1, signs - 1
            model.resource('suite').write('sign %d' % last, model.resource('suite').last_now)
        if signs < 0 or last != seq - (wrote != 0):
            return ['the write behind %d is %d' % (last, seq)]
        last = seq
        replies, _ = limiter.take_step(model, str(number), batch)
        for words, (_, reply), expected in zip(batch, pairs, replies):
            if reply != expected:
                return [' '.join(words), 'model:  ' + expected, 'engine: ' + reply]
    return None


def main():
    kinds = [(world, kind) for kind in (WORLDS, STORED, TOGETHER) for world in kind]
    print('1..%d' % len(kinds))
    failed = False
    for number, (world, kind) in enumerate(kinds, 1):
        driver = Driver(world, SEED + number)
        driver.run((EVENTS if kind is WORLDS else STORED_EVENTS) // len(kind))
        difference = compare_together(driver) if kind is TOGETHER else compare(driver)
        for line in difference or []:
            print('# ' + line)
        counts = {}
        for reply in driver.replies:
            words = reply.split()
            word = words[0] + ' ' + words[2] if words[0] in 'AW' else words[0]
            counts[word] = counts.get(word, 0) + 1
        print('# %s' % ', '.join('%s %d' % c for c in sorted(counts.items())))
        failed = failed or difference is not None
        print('%s %d - %s: %d events' % ('not ok' if difference else 'ok', number, world,
                                         len(driver.replies)), flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
