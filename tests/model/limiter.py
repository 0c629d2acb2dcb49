#!/usr/bin/python3
"""The limiter's decision, once more and plainly: the reference the C engine is compared with.

Standard library only. Written from the rules, not from the engine: what counts is kept in lists
and counted anew for every question, and the time a refusal names is found by looking at the
moments at which something changes.

Read as a filter: lines as tests/model/limiter_trace.c describes them, one reply a line.
"""
import math
import sys

NEVER = math.inf
LOG_MOST, SLOTS, DEBITS_MOST = 64, 60, 96

MODEL_GONE, CLOSED, STATE_LOST, COOLDOWN, BREAKER_OPEN, PROBE_RUNNING = 1, 2, 3, 4, 5, 6
CONCURRENCY, REQUESTS, PACED, TOKENS, QUEUED_BEHIND, TOO_LARGE = 7, 8, 9, 10, 11, 12
WOULD_MISS_DEADLINE, QUEUE_FULL = 13, 14
POOL_REASONS = (CLOSED, STATE_LOST, CONCURRENCY, REQUESTS, PACED, TOKENS, TOO_LARGE)
REASONS = (MODEL_GONE, COOLDOWN, BREAKER_OPEN, PROBE_RUNNING) + POOL_REASONS
HINTS = {CONCURRENCY, PROBE_RUNNING}

OK, THROTTLED, FAILED, CALLER, LEFT, GONE = 1, 2, 3, 4, 5, 6
APPLIED, REPLAYED, ALREADY_SETTLED, ALREADY_RELEASED, UNKNOWN_ID = 1, 2, 3, 4, 5

GUARD, LEASE, USE_BY = 500, 15000, 350
STEPS, RETRY_MOST = [0, 5000, 10000, 20000, 40000], 3600000
OPEN, OUTCOME_AGE, OUTCOMES, LEAST = 60000, 600000, 20, 6
RECORD_OPEN, RECORD_DONE = 4200000, 600000
AGING, HEAD_LIFE, HEADS, TAGS, SCALE, SERVED = 30000, 2000, 16, 64, 1000, 24
WAITERS, TENANT_WAITERS, LEASES = 40, 12, 64


class Resource:
    def __init__(self, name, is_model, requests, tokens, window, concurrency, burst, interval,
                 cooldown):
        self.name, self.is_model, self.cooldown = name, is_model, cooldown
        self.set_limits(requests, tokens, window, concurrency, burst, interval, 0)
        self.gone, self.closed = False, False
        self.forget()

    def set_limits(self, requests, tokens, window, concurrency, burst, interval, version):
        self.requests, self.tokens, self.span = requests, tokens, window + GUARD
        self.concurrency, self.interval, self.version = concurrency, interval, version
        self.tolerance = (burst - 1) * interval if burst else 0
        self.limits_window = requests > 0 or tokens > 0
        self.is_ring = self.limits_window and not 0 < requests <= LOG_MOST
        self.slot = -(-self.span // SLOTS)

    def forget(self):
        """All that was counted; not what was said."""
        self.seq, self.written_in, self.last_now = 0, None, 0
        self.shape, self.last_number, self.tat = 0, 0, 0
        self.admissions = {}            # (shape, number) -> [time or slot, requests, tokens]
        self.debits = []                # [time, tokens, whose], in time order
        self.leases = {}                # id -> [session, fence, end]
        self.generation, self.level, self.cooldown_until = 1, 0, 0
        self.breaker, self.since, self.open_until = 'closed', 1, 0
        self.probe, self.probe_end, self.outcomes = None, 0, []
        self.closed_until, self.fence = 0, 0
        self.ramp = 0                   # calls at once while a model recovers; 0: it has
        self.virtual, self.tags = 0, {} # of waiters' order; tenant -> finish
        self.heads = {}                 # limiter -> Head

    def form(self):
        return self.limits_window, self.is_ring, self.slot if self.is_ring else 0

    def relimit(self, now, *limits):
        """What counts goes on counting under the new limits, from the latest time it may be of."""
        form, slot = self.form(), self.slot
        self.set_limits(*limits)
        if self.form() == form:
            return
        marks = [(min((a[0] + 1) * slot - 1, now) if form[1] else a[0], a[1], a[2])
                 for a in self.admissions.values()] + [(d[0], 0, d[1]) for d in self.debits]
        self.admissions, self.debits, self.shape = {}, [], self.shape + 1
        for at, requests, tokens in sorted(m for m in marks if m[0] > now - self.span):
            if self.is_ring:
                self.in_slot(at)[1] += requests
                self.in_slot(at)[2] += tokens
            elif self.limits_window:
                for _ in range(requests):
                    self.last_number += 1
                    self.admissions[(self.shape, self.last_number)] = [at, 1, 0]
                if tokens:
                    self.debits.append([at, tokens, None])
        if not self.is_ring:
            for key in list(self.admissions)[:-LOG_MOST]:
                del self.admissions[key]

    # --- what counts now ---

    def until(self, entry):
        """An admission counts before that."""
        return ((entry[0] + 1) * self.slot if self.is_ring else entry[0]) + self.span

    def prune(self, now):
        """Forgets what has run out. Changes no answer: who wrote it last is never asked about
        an earlier time."""
        for key in [k for k, a in self.admissions.items() if self.until(a) <= now]:
            del self.admissions[key]
        self.debits = [d for d in self.debits if d[0] + self.span > now]
        for lease in [i for i, l in self.leases.items() if l[2] <= now]:
            del self.leases[lease]

    def requests_at(self, t):
        return sum(a[1] for a in self.admissions.values() if self.until(a) > t)

    def tokens_at(self, t):
        return (sum(a[2] for a in self.admissions.values() if self.until(a) > t) +
                sum(d[1] for d in self.debits if d[0] + self.span > t))

    def live_at(self, t):
        return sum(1 for lease in self.leases.values() if lease[2] > t)

    def at_once(self):
        return min(self.ramp, self.concurrency or self.ramp) if self.ramp else self.concurrency

    def lease(self, call, now):
        lease = self.leases.get(call)
        return lease if lease and now < lease[2] else None

    def remaining(self, now):
        return (max(0, self.requests - self.requests_at(now)) if self.requests else 0,
                max(0, self.at_once() - self.live_at(now)) if self.at_once() else 0,
                self.tokens - self.tokens_at(now) if self.tokens else 0)

    # --- the predicates ---

    def holds(self, reason, t, charge, suite):
        """Whether the predicate that this reason belongs to holds at time t."""
        if reason == MODEL_GONE:
            return not self.gone
        if reason == CLOSED:
            return not self.closed
        if reason == STATE_LOST:
            return t >= suite.closed_until
        if reason == COOLDOWN:
            return t >= self.cooldown_until
        if reason == BREAKER_OPEN:
            return self.breaker != 'open' or t >= self.open_until
        if reason == PROBE_RUNNING:
            return self.breaker != 'half_open' or t >= self.probe_end
        if reason == CONCURRENCY:
            return not self.at_once() or self.live_at(t) < self.at_once()
        if reason == REQUESTS:
            return not self.requests or self.requests_at(t) < self.requests
        if reason == PACED:
            return not self.interval or t >= self.tat - self.tolerance
        if reason == TOO_LARGE:
            return not self.tokens or charge <= self.tokens
        return not self.tokens or charge > self.tokens or self.tokens_at(t) + charge <= self.tokens

    def moments(self, reason, suite):
        """When the predicate may begin to hold."""
        if reason in (MODEL_GONE, CLOSED, TOO_LARGE):
            return []
        if reason == CONCURRENCY:
            return [lease[2] for lease in self.leases.values()]
        if reason in (REQUESTS, TOKENS):
            return ([self.until(a) for a in self.admissions.values()] +
                    [d[0] + self.span for d in self.debits])
        return [{STATE_LOST: suite.closed_until, COOLDOWN: self.cooldown_until,
                 BREAKER_OPEN: self.open_until, PROBE_RUNNING: self.probe_end,
                 PACED: self.tat - self.tolerance}[reason]]

    def holds_from(self, reason, now, charge, suite):
        """The first moment at which it holds. Once it holds it goes on holding: halve and halve."""
        moments = sorted(t for t in self.moments(reason, suite) if t > now)
        low, high = 0, len(moments)
        while low < high:
            middle = (low + high) // 2
            if self.holds(reason, moments[middle], charge, suite):
                high = middle
            else:
                low = middle + 1
        return moments[low] if low < len(moments) else NEVER

    def judge(self, now, charge, suite):
        asked = REASONS if self.is_model else POOL_REASONS
        failed = [r for r in asked if not self.holds(r, now, charge, suite)]
        when = max([now] + [self.holds_from(r, now, charge, suite) for r in failed])
        return Judgement(self, charge, failed, when, self.remaining(now))

    # --- who goes first ---

    def start(self, tenant):
        return max(self.virtual, self.tags.get(tenant, 0))

    def grant_to(self, tenant, weight, charge):
        """The virtual time goes on to where the grant started."""
        self.virtual = self.start(tenant)
        tags = {t: f for t, f in self.tags.items() if t != tenant and f > self.virtual}
        if len(tags) == TAGS:
            del tags[min(tags, key=tags.get)]
        tags[tenant] = self.virtual + max(charge, 1) * SCALE // (weight or 1)
        self.tags = tags

    def eta(self, now, k, charge):
        """When the k-th from now may go, if they are charged so much together; whether that is
        certain."""
        at = now
        if self.limits_window and not self.is_ring:
            marks, tat = sorted(a[0] for a in self.admissions.values() if self.until(a) > now), self.tat
            for _ in range(k):
                if len(marks) >= self.requests:
                    at = max(at, marks[len(marks) - self.requests] + self.span)
                if self.interval:
                    at = max(at, tat - self.tolerance)
                    tat = max(at, tat) + self.interval
                marks.append(at)
        else:
            if self.interval:
                at = max(at, max(self.tat, now) + (k - 1) * self.interval - self.tolerance)
            if self.requests:
                rounds, rest = divmod(k - 1, self.requests)
                at = max(at, rounds * self.span + self.matures(
                    now, lambda t: self.requests_at(t) + rest + 1 <= self.requests))
        certain = not self.at_once() or self.live_at(now) + k <= self.at_once()
        if self.tokens:
            rounds, rest = divmod(charge - 1, self.tokens) if charge else (0, -1)
            at = max(at, rounds * self.span + self.matures(
                now, lambda t: self.tokens_at(t) + rest + 1 <= self.tokens))
            certain = certain and not rounds
        return at, certain

    def matures(self, now, holds):
        return next(t for t in sorted([now] + [m for m in self.moments(TOKENS, None) if m > now])
                    if holds(t))

    # --- writing ---

    def write(self, step, now):
        if self.written_in != step:
            self.written_in, self.last_now = step, now
            self.seq += 1
            self.prune(now)

    def in_slot(self, at):
        number = at // self.slot
        return self.admissions.setdefault((self.shape, number), [number, 0, 0])

    def charge(self, now, tokens):
        """Gives the key under which it is kept."""
        if self.interval:
            self.tat = max(now, self.tat) + self.interval
        if not self.limits_window:
            return None
        if self.is_ring:
            entry = self.in_slot(now)
            entry[1] += 1
            entry[2] += tokens
            return self.shape, entry[0]
        self.last_number += 1
        key = self.shape, self.last_number
        self.admissions[key] = [now, 1, tokens]
        return key

    def lower(self, key, reserved, used):
        if key in self.admissions:
            self.admissions[key][2] -= reserved - used

    def refund(self, key, reserved):
        if key not in self.admissions:
            return
        if self.is_ring:
            self.admissions[key][1] -= 1
            self.admissions[key][2] -= reserved
        else:
            del self.admissions[key]

    def debit(self, now, key, before, tokens):
        """In the place of a debit of `before` tokens under the same key."""
        if tokens == before or not self.limits_window:
            return
        if self.is_ring:
            self.in_slot(now)[2] += tokens - before
            return
        mine = [d for d in self.debits if d[2] == key and key and before]
        if mine:
            self.debits.remove(mine[0])
        if len(self.debits) == DEBITS_MOST:
            self.debits[1][1] += self.debits[0][1]
            del self.debits[0]
        self.debits.append([now, tokens, key])

    def probing(self, now):
        return self.breaker == 'half_open' and now < self.probe_end

    def report(self, now, call, outcome, server_retry, generation):
        current = generation == self.generation
        if outcome == THROTTLED or (outcome == FAILED and server_retry):
            wait = self.cooldown + (STEPS[self.level] if current else 0)
            wait = max(wait, min(server_retry, RETRY_MOST))
            self.cooldown_until = max(self.cooldown_until, now + wait)
            if current:
                self.level = min(self.level + 1, len(STEPS) - 1)
                self.generation += 1
            self.ramp = 1
        elif outcome == OK and current:
            self.level = 0
            self.ramp = 2 * self.ramp if 2 * self.ramp < (self.concurrency or LEASES) else 0
        elif outcome == GONE:
            self.gone = True
        if self.breaker == 'closed':
            if outcome in (OK, FAILED) and generation >= self.since:
                self.count(now, outcome == FAILED)
        elif self.probing(now) and self.probe == call:
            if outcome == OK:
                self.turn('closed')
            elif outcome == FAILED:
                self.trip(now)
            else:
                self.probe_end = 0

    def count(self, now, failed):
        self.outcomes = (self.outcomes + [(now, failed)])[-OUTCOMES:]
        young = [f for t, f in self.outcomes if now < t + OUTCOME_AGE]
        if len(young) >= LEAST and 2 * sum(young) >= len(young):
            self.trip(now)

    def trip(self, now):
        self.turn('open')
        self.open_until, self.ramp = now + OPEN, 1

    def turn(self, breaker):
        self.breaker, self.outcomes, self.probe_end = breaker, [], 0
        self.generation += 1
        self.since = self.generation


class Judgement:
    def __init__(self, resource, charge, failed, when, remaining):
        self.resource, self.charge, self.failed, self.when = resource, charge, failed, when
        self.remaining, self.seq = remaining, resource.seq
        self.hint = bool(HINTS & set(failed))

    def __str__(self):
        when, exact = '0', 0
        if self.failed and self.when != NEVER:
            when, exact = self.when, int(not self.hint)
        return ':'.join(str(x) for x in (
            self.resource.name, sum(1 << r for r in self.failed), self.charge, when, exact,
            *self.remaining, self.seq))


class Waiter:
    """Of a limiter; or its foremost, as the others know it."""

    def __init__(self, limiter, call, session, tenant, candidates, priority, weight, deadline,
                 since, number):
        self.limiter, self.call, self.session, self.tenant = limiter, call, session, tenant
        self.candidates, self.priority, self.weight = candidates, priority, weight
        self.deadline, self.since, self.number = deadline, since, number
        self.place, self.charge, self.candidate = None, 0, 0

    def key(self, now, pool, cost=0):
        risen = max(0, now - self.since) // AGING
        return (max(0, self.priority - risen), pool.start(self.tenant) + cost, self.since,
                self.limiter, self.number)

    def cost(self):
        return max(self.charge, 1) * SCALE // (self.weight or 1)


class Head:
    def __init__(self, waiter, expires):
        self.waiter, self.expires = waiter, expires
        self.known = waiter.number, waiter.charge, waiter.candidate


class Queue:
    """Who waits at one limiter."""

    def __init__(self):
        self.waiters, self.last, self.wake, self.freed = [], 0, NEVER, False

    def line(self, waiter):
        """Who waits for the same with it, in the order they came."""
        return sorted((w for w in self.waiters if (w.place, w.tenant, w.priority) ==
                       (waiter.place, waiter.tenant, waiter.priority)),
                      key=lambda w: (w.since, w.number))

    def fronts(self):
        return [w for w in self.waiters if self.line(w)[0] is w]

    def at(self, pool):
        return [w for w in self.waiters if w.place is pool]


class Record:
    def __init__(self, state, expires, session=None):
        self.state, self.expires, self.session = state, expires, session
        self.held, self.digest = [], None

    def at(self, resource):
        return next((h for h in self.held if h.resource is resource), None)


class Held:
    def __init__(self, resource, key, charge, prompt):
        self.resource, self.key, self.charge, self.prompt = resource, key, charge, prompt
        self.overrun, self.leased = 0, resource.at_once() > 0


class Limiter:
    def __init__(self):
        self.resources, self.records = {}, {}
        self.queues, self.shared = [Queue()], False
        self.stored, self.recorded = False, False   # in a Redis; a record was written

    def record(self, call, now):
        record = self.records.get(call)
        return record if record and now < record.expires else None

    def resource(self, name):
        return self.resources[name]

    def pools(self, tenant):
        return [self.resource('suite')] + ([self.resource('tenant')] if tenant == 1 else [])

    def share_store(self, limiters):
        self.queues = [Queue() for _ in range(limiters)]
        self.shared = self.stored = True

    def sign(self, step, now):
        """In a store every step that writes something writes the suite."""
        wrote = self.recorded or any(r.written_in == step for r in self.resources.values())
        if self.stored and wrote:
            self.resource('suite').write(step, now)
        self.recorded = False

    def lose(self, step, now, closed, all_of_it):
        """A loss of state: nothing is granted until everything forgotten has aged out."""
        suite = self.resource('suite')
        if all_of_it:
            self.records = {}
            for resource in self.resources.values():
                resource.forget()
        now = max(now, suite.last_now)
        suite.write(step, now)
        suite.closed_until = max(suite.closed_until, now + closed)

    # --- acquire ---

    def behind(self, queue, now, waiter, pool):
        """How many are in front of it at the pool, and what they are charged together."""
        others = [w for w in queue.at(pool) if w is not waiter]
        own = [w for w in others if (w.tenant, w.priority) == (waiter.tenant, waiter.priority)]
        ahead = [w for w in own if (w.since, w.number) < (waiter.since, waiter.number)]
        mine = waiter.key(now, pool, sum(w.cost() for w in ahead))
        for front in [w for w in queue.fronts() if w in others and w not in own]:
            cost = 0
            for w in queue.line(front):
                if w.key(now, pool, cost) > mine:
                    break
                ahead.append(w)
                cost += w.cost()
        charges = [w.charge for w in ahead]
        for limiter, head in pool.heads.items():
            if now < head.expires and limiter != waiter.limiter:
                if head.waiter.key(now, pool) < mine:
                    charges.append(head.known[1])
        return len(charges), sum(charges)

    def judge_pool(self, queue, now, waiter, pool, charge, suite):
        judgement = pool.judge(now, charge, suite)
        ahead, charges = self.behind(queue, now, waiter, pool)
        if ahead:
            at, certain = pool.eta(now, ahead + 1, charges + charge)
            judgement.failed.append(QUEUED_BEHIND)
            soon = now + (HEAD_LIFE // 8 if waiter in queue.waiters else 1)
            judgement.when = max(judgement.when, soon if at <= now else at)
            judgement.hint = judgement.hint or not certain or at <= now
        return judgement

    def decide(self, queue, now, waiter, pools):
        """candidates: (model, its charge, the pools' charge, the prompts' parts of both). Gives the place of the first open
        model (None: none is), the judgements, and for a refusal when and whether that is exact."""
        candidates = waiter.candidates
        suite, models = pools[0], []
        for model, charge, *_ in candidates:
            models.append(model.judge(now, charge, suite))
            if not models[-1].failed:
                break
        place = len(models) - 1 if not models[-1].failed else None
        at_pools = [[self.judge_pool(queue, now, waiter, p, candidates[i][2], suite) for p in pools]
                    for i in range(len(models))]
        judged = models + (at_pools[place] if place is not None else [])
        # The first moment at which whoever is chosen then passes the pools.
        for t in sorted({j.when for j in models + sum(at_pools, [])} - {NEVER}):
            then = next((i for i, j in enumerate(models) if j.when <= t), None)
            if then is not None and all(j.when <= t for j in at_pools[then]):
                hint = models[then].hint or any(j.hint for j in at_pools[then])
                return place, judged, t, not hint
        return place, judged, 0, False

    def acquire(self, step, queue, now, waiter):
        call, session, candidates = waiter.call, waiter.session, waiter.candidates
        pools = self.pools(waiter.tenant)
        record = self.record(call, now)
        if record:
            return self.replay(now, call, record, candidates, pools)
        place, judged, when, exact = self.decide(queue, now, waiter, pools)
        waiter.judged = place, judged
        generation = candidates[place][0].generation if place is not None else 0
        if when != now:
            return ('refused', place or 0, when, exact, generation, 0, 0, 0, False, 0, judged)
        model = candidates[place][0]
        record = self.records[call] = Record('granted', now + RECORD_OPEN, session)
        pools[0].fence += 1
        record.fence, record.granted, record.place = pools[0].fence, now, place
        record.generation, record.probe = generation, model.breaker != 'closed'
        for j in judged[place:]:
            resource = j.resource
            resource.write(step, now)
            record.held.append(Held(resource, resource.charge(now, j.charge), j.charge,
                                    candidates[place][3 if resource is model else 4]))
            if resource.at_once():
                resource.leases[call] = [session, record.fence, now + LEASE]
            j.remaining, j.seq = resource.remaining(now), resource.seq
        if record.probe:
            model.breaker, model.probe, model.probe_end = 'half_open', call, now + LEASE
        pools[0].grant_to(waiter.tenant, waiter.weight, candidates[place][2])
        queue.freed = True
        return ('granted', place, 0, False, generation, record.fence, LEASE, USE_BY, record.probe,
                0, judged)

    def replay(self, now, call, record, candidates, pools):
        if not record.held or record.state == 'cancelled':
            return ('cancelled', 0, 0, False, 0, 0, 0, 0, False, 0, [])
        lease = use_by = 0
        judged = []
        if record.state == 'granted':
            lease, use_by = LEASE, max(0, record.granted + USE_BY - now)
        asked = [candidates[record.place][0]] if record.place < len(candidates) else []
        for resource in asked + pools:
            held = record.at(resource)
            if held:
                judged.append(Judgement(resource, held.charge, [], now, resource.remaining(now)))
                if held.leased and resource.concurrency:
                    mine = resource.lease(call, now)
                    lease = min(lease, mine[2] - now if mine else 0)
        return ('replayed', record.place, 0, False, record.generation, record.fence, lease, use_by,
                record.probe, 0, judged)

    # --- waiting ---

    def put(self, queue, waiter):
        """Where it waits after a refusal: at the first pool that refuses, the tenant's before the
        suite; with all others of its models while none of them is open."""
        place, judged = waiter.judged
        waiter.candidate = place or 0
        waiter.charge = waiter.candidates[waiter.candidate][2]
        if place is None:
            waiter.place = tuple(c[0] for c in waiter.candidates)
        else:
            last = judged[-1]
            waiter.place = last.resource if last.failed else self.resource('suite')

    def serve(self, step, queue, now):
        """The waiters in the suite's order, until one remains that waits for the suite."""
        suite, granted, ended, tried = self.resource('suite'), 0, [], []
        while True:
            fronts = [w for w in queue.fronts() if w not in tried]
            if not fronts:
                return ended
            if granted == SERVED:
                queue.wake = min(queue.wake, now)
                return ended
            waiter = min(fronts, key=lambda w: w.key(now, suite))
            tried.append(waiter)
            if now >= waiter.deadline:
                verdict = ('refused', 0, 0, False, 0, 0, 0, 0, False, 1 << WOULD_MISS_DEADLINE, [])
            else:
                verdict = self.acquire(step, queue, now, waiter)
            if verdict[0] != 'refused' or not verdict[2]:
                granted += verdict[0] in ('granted', 'replayed')
                queue.waiters.remove(waiter)
                ended.append((waiter, verdict))
                continue
            self.put(queue, waiter)
            queue.wake = min(queue.wake, verdict[2])
            if waiter.place is suite:
                return ended

    def enter(self, step, queue, now, waiter, waits):
        verdict = self.acquire(step, queue, now, waiter)
        when, exact = verdict[2:4]
        if not waits or verdict[0] != 'refused' or not when:
            return verdict
        why = 0
        if now >= waiter.deadline or (exact and when >= waiter.deadline):
            why = 1 << WOULD_MISS_DEADLINE
        elif (len(queue.waiters) >= WAITERS or sum(
                w.tenant == waiter.tenant for w in queue.waiters) >= TENANT_WAITERS):
            why = 1 << QUEUE_FULL
        if why:
            return verdict[:9] + (why, verdict[10])
        queue.last += 1
        waiter.number = queue.last
        self.put(queue, waiter)
        queue.waiters.append(waiter)
        queue.wake = min(queue.wake, when)
        return ('queued',) + verdict[1:]

    def tell(self, step, limiter, queue, now, seen):
        """The heads of the pools that were seen; gives whose turn it is elsewhere."""
        pools, wakes = [p for p in self.pools(1) if p in seen], []
        for pool in pools:
            known = pool.heads.get(limiter)
            waiters = queue.at(pool)
            if not waiters:
                if known:
                    pool.write(step, now)
                    del pool.heads[limiter]
                    queue.freed = True
                continue
            head = Head(min(waiters, key=lambda w: w.key(now, pool)), now + HEAD_LIFE)
            if (known and known.known == head.known and pool.written_in != step and
                    now + HEAD_LIFE // 2 < known.expires):
                continue
            pool.write(step, now)
            pool.heads = {l: h for l, h in pool.heads.items() if now < h.expires}
            if limiter in pool.heads and pool.heads[limiter].known[0] != head.known[0]:
                queue.freed = True
            pool.heads[limiter] = head
        for pool in pools:
            heads = [h.waiter for h in pool.heads.values() if now < h.expires]
            if heads and queue.freed and pool.written_in == step:
                first = min(heads, key=lambda w: w.key(now, pool))
                if first.limiter != limiter:
                    wakes.append((first.limiter, pool.name))
        if queue.waiters:
            queue.wake = min(queue.wake, now + HEAD_LIFE // 2)
        return wakes

    # --- reports ---

    def report(self, step, now, call, held, undispatched, outcome, model_tokens, pool_tokens,
               partial, server_retry, digest):
        record = self.record(call, now)
        if record and record.state == 'cancelled':
            return (REPLAYED if undispatched else ALREADY_RELEASED), []
        if record and record.state == 'settled':
            return (REPLAYED if record.digest == digest else ALREADY_SETTLED), []
        known = record is not None
        record = record or Record(None, 0)
        self.records[call] = record
        settlements = []
        for resource in held:
            mine = record.at(resource)
            if (known and not mine) or (not known and undispatched):
                continue
            mine = mine or Held(resource, None, 0, 0)
            reserved = mine.charge
            used = model_tokens if resource.is_model else pool_tokens
            used = 0 if outcome == GONE else max(used, reserved) if partial else used
            resource.write(step, now)
            resource.leases.pop(call, None)
            if undispatched:
                used = 0
                resource.refund(mine.key, reserved)
                if resource.breaker == 'half_open' and resource.probe == call:
                    resource.probe_end = 0
            else:
                if mine.overrun and used < reserved + mine.overrun:
                    used = reserved + mine.overrun
                elif used > reserved:
                    resource.debit(now, mine.key, mine.overrun, used - reserved)
                else:
                    resource.lower(mine.key, reserved, used)
                if resource.is_model:
                    resource.report(now, call, outcome, server_retry,
                                    record.generation if known else 0)
            settlements.append((resource.name, reserved, used, *resource.remaining(now)))
        record.state = 'cancelled' if undispatched else 'settled'
        record.digest, record.expires = digest, now + RECORD_DONE
        return (APPLIED if known else UNKNOWN_ID), settlements

    def renew(self, step, now, session, call, fence, held, outputs, seq):
        """Whether the lease is lost."""
        suite, record = held[1], self.record(call, now)
        if seq > suite.seq:
            return 'amnesia'
        lost = record is not None and record.state != 'granted'
        for resource in (r for r in held if r.concurrency):
            lease, mine = resource.lease(call, now), record and record.at(resource)
            if lease:
                lost |= lease[:2] != [session, fence]
            elif not mine or mine.leased:
                lost |= (now >= suite.closed_until or
                         resource.live_at(now) >= resource.concurrency)
        if lost:
            return 1
        for resource in held:
            resource.write(step, now)
            lease, mine = resource.lease(call, now), record and record.at(resource)
            if lease:
                lease[2] = now + LEASE
            elif resource.concurrency and (not mine or mine.leased):
                resource.leases[call] = [session, fence, now + LEASE]
            if resource.is_model and resource.probing(now) and resource.probe == call:
                resource.probe_end = now + LEASE
            if mine:
                over = mine.prompt + outputs[not resource.is_model] - mine.charge
                if over > mine.overrun:
                    resource.debit(now, mine.key, mine.overrun, over)
                    mine.overrun = over
        suite.fence = max(suite.fence, fence)
        return 0

    # --- operators ---

    def order(self, step, now, what, resource, force):
        """Whether it is refused."""
        if what == 'breaker':
            if resource.is_model and resource.breaker != 'closed':
                resource.write(step, now)
                resource.turn('closed')
            return not resource.is_model
        resource.write(step, now)
        resource.closed = what == 'close'
        if what == 'reopen':
            resource.gone = False
            if force:
                self.resource('suite').write(step, now)
                self.resource('suite').closed_until = 0
        return False

    def limit(self, step, now, resource, limits):
        if limits[-1] <= resource.version:
            return True
        resource.write(step, now)
        resource.relimit(now, *limits)
        return False


# --- the filter ---

def held_of(limiter, model, tenant):
    return [limiter.resource(model)] + limiter.pools(int(tenant))


def verdict_line(what, call, verdict):
    *numbers, judged = verdict
    return ' '.join([what, call] + [str(int(v) if isinstance(v, bool) else v) for v in numbers] +
                    [str(j) for j in judged])


def answer_acquire(limiter, step, queue, now, words):
    call, session, *numbers = words[3:10]
    tenant, priority, weight, deadline, _ = map(int, numbers)
    rest = words[10:]
    candidates = [(limiter.resource(rest[i]), *map(int, rest[i + 1:i + 5]))
                  for i in range(0, len(rest), 5)]
    waiter = Waiter(limiter.queues.index(queue), call, session, tenant, candidates, priority,
                    weight, deadline, now, NEVER)
    return verdict_line('A', call, limiter.enter(step, queue, now, waiter, deadline > 0))


def answer_report(limiter, step, queue, now, words):
    call, model, tenant = words[3:6]
    outcome, model_tokens, pool_tokens, partial, retry, digest, undispatched = map(int, words[6:13])
    result, settlements = limiter.report(
        step, now, call, held_of(limiter, model, tenant), undispatched, outcome, model_tokens,
        pool_tokens, partial, retry, digest)
    queue.freed |= result in (APPLIED, UNKNOWN_ID)
    limiter.recorded |= result in (APPLIED, UNKNOWN_ID)
    return ' '.join(['C', call, str(result)] + [':'.join(map(str, s)) for s in settlements])


def answer_renew(limiter, step, queue, now, words):
    session, call, fence, model, tenant, *rest = words[3:]
    model_output, pool_output, seq = map(int, rest)
    lost = limiter.renew(step, now, session, call, int(fence), held_of(limiter, model, tenant),
                         (model_output, pool_output), seq)
    return 'N %s %s' % (call, lost)


def answer_limit(limiter, step, queue, now, words):
    refused = limiter.limit(step, now, limiter.resource(words[3]), [int(w) for w in words[4:]])
    queue.freed |= not refused
    return 'L %s %d' % (words[3], refused)


def answer_order(limiter, step, queue, now, words):
    refused = limiter.order(step, now, words[3], limiter.resource(words[4]), int(words[5]))
    queue.freed |= not refused
    return 'O %s %d' % (words[4], refused)


def answer_leave(limiter, step, queue, now, words):
    waiter = next((w for w in queue.waiters if w.call == words[3]), None)
    if waiter:
        queue.waiters.remove(waiter)
    return 'G %s %d' % (words[3], waiter is not None)


def answer_nothing(limiter, step, queue, now, words):
    return 'T'


ANSWERS = {'A': answer_acquire, 'C': answer_report, 'N': answer_renew, 'L': answer_limit,
           'O': answer_order, 'G': answer_leave, 'T': answer_nothing}


def resources_of(limiter, queue, words):
    """What an event has to do with; the suite first."""
    suite, what = [limiter.resource('suite')], words[0]
    if what == 'A':
        return limiter.pools(int(words[5])) + [limiter.resource(n) for n in words[10::5]]
    if what in 'CN':
        return suite + held_of(limiter, *words[4:6] if what == 'C' else words[6:8])
    if what in 'LO':
        return suite + [limiter.resource(words[3 if what == 'L' else 4])]
    if what == 'G':
        return suite + [r for w in queue.waiters if w.call == words[3] for r in of_waiter(limiter, w)]
    return suite


def of_waiter(limiter, waiter):
    return limiter.pools(waiter.tenant) + [c[0] for c in waiter.candidates]


def take_step(limiter, step, batch):
    """A reply for each event, then what else the step has come to."""
    place = int(step) % len(limiter.queues)
    queue = limiter.queues[place]
    queue.wake, queue.freed = NEVER, False
    seen = [r for words in batch if words[0] not in 'NLO'
            for r in resources_of(limiter, queue, words)] + [limiter.resource('suite')]
    mine = [r for words in batch for r in resources_of(limiter, queue, words)]
    fronts = [r for w in queue.fronts() for r in of_waiter(limiter, w)]
    now = max([int(batch[0][2])] + [r.last_now for r in mine + fronts])
    answers, ended = {}, []
    for acquires in (False, True):
        for i, words in enumerate(batch):
            if (words[0] == 'A') == acquires:
                answers[i] = ANSWERS[words[0]](limiter, step, queue, now, words)
        if not acquires:
            ended = limiter.serve(step, queue, now)
    wakes = []
    if limiter.shared:
        seen += [r for w in queue.fronts() + [e[0] for e in ended] for r in of_waiter(limiter, w)]
        wakes = limiter.tell(step, place, queue, now, seen)
    limiter.sign(step, now)
    more = [verdict_line('W', w.call, verdict) for w, verdict in ended]
    more += ['K %d %s' % wake for wake in wakes]
    more += ['X %s' % queue.wake] if queue.wake != NEVER else []
    return [answers[i] for i in range(len(batch))], more


def main():
    limiter, batch = Limiter(), []

    def flush():
        if batch:
            replies, more = take_step(limiter, batch[0][1], batch)
            for line in replies + more:
                sys.stdout.write(line + '\n')
            batch.clear()

    for line in sys.stdin:
        words = line.split()
        if batch and words[1] != batch[0][1]:
            flush()
        if words[0] == 'Q':
            limiter.queues, limiter.shared = [Queue() for _ in range(int(words[1]))], True
        elif words[0] == 'S':
            limiter.share_store(int(words[1]))
        elif words[0] == 'R':
            flush()
            limiter.resources[words[1]] = Resource(words[1], words[2] == 'model',
                                                   *map(int, words[3:]))
        elif words[0] in 'ZE':
            flush()
            limiter.lose(words[1], int(words[2]), int(words[3]), words[0] == 'Z')
        else:
            batch.append(words)
    flush()


if __name__ == '__main__':
    main()
