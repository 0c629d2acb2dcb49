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
CONCURRENCY, REQUESTS, PACED, TOKENS, TOO_LARGE = 7, 8, 9, 10, 12
POOL_REASONS = (CLOSED, STATE_LOST, CONCURRENCY, REQUESTS, PACED, TOKENS, TOO_LARGE)
REASONS = (MODEL_GONE, COOLDOWN, BREAKER_OPEN, PROBE_RUNNING) + POOL_REASONS
HINTS = {CONCURRENCY, PROBE_RUNNING}

OK, THROTTLED, FAILED, CALLER, LEFT, GONE = 1, 2, 3, 4, 5, 6
APPLIED, REPLAYED, ALREADY_SETTLED, ALREADY_RELEASED, UNKNOWN_ID = 1, 2, 3, 4, 5

GUARD, LEASE, USE_BY = 500, 15000, 350
STEPS, RETRY_MOST = [0, 5000, 10000, 20000, 40000], 3600000
OPEN, OUTCOME_AGE, OUTCOMES, LEAST = 60000, 600000, 20, 6
RECORD_OPEN, RECORD_DONE = 4200000, 600000


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

    def lease(self, call, now):
        lease = self.leases.get(call)
        return lease if lease and now < lease[2] else None

    def remaining(self, now):
        return (max(0, self.requests - self.requests_at(now)) if self.requests else 0,
                max(0, self.concurrency - self.live_at(now)) if self.concurrency else 0,
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
            return not self.concurrency or self.live_at(t) < self.concurrency
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
        elif outcome == OK and current:
            self.level = 0
        elif outcome == GONE:
            self.gone = True
        if self.breaker == 'closed':
            if outcome in (OK, FAILED) and generation >= self.since:
                self.count(now, outcome == FAILED)
        elif self.probing(now) and self.probe == call:
            if outcome == OK:
                self.turn('closed')
            elif outcome == FAILED:
                self.turn('open')
                self.open_until = now + OPEN
            else:
                self.probe_end = 0

    def count(self, now, failed):
        self.outcomes = (self.outcomes + [(now, failed)])[-OUTCOMES:]
        young = [f for t, f in self.outcomes if now < t + OUTCOME_AGE]
        if len(young) >= LEAST and 2 * sum(young) >= len(young):
            self.turn('open')
            self.open_until = now + OPEN

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


class Record:
    def __init__(self, state, expires, session=None):
        self.state, self.expires, self.session = state, expires, session
        self.held, self.digest = [], None

    def at(self, resource):
        return next((h for h in self.held if h.resource is resource), None)


class Held:
    def __init__(self, resource, key, charge, prompt):
        self.resource, self.key, self.charge, self.prompt = resource, key, charge, prompt
        self.overrun, self.leased = 0, resource.concurrency > 0


class Limiter:
    def __init__(self):
        self.resources, self.records = {}, {}

    def record(self, call, now):
        record = self.records.get(call)
        return record if record and now < record.expires else None

    def resource(self, name):
        return self.resources[name]

    def pools(self, tenant):
        return [self.resource('suite')] + ([self.resource('tenant')] if tenant else [])

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

    def decide(self, now, candidates, pools):
        """candidates: (model, its charge, the pools' charge, the prompts' parts of both). Gives the place of the first open
        model (None: none is), the judgements, and for a refusal when and whether that is exact."""
        suite, models = pools[0], []
        for model, charge, *_ in candidates:
            models.append(model.judge(now, charge, suite))
            if not models[-1].failed:
                break
        place = len(models) - 1 if not models[-1].failed else None
        at_pools = [[p.judge(now, candidates[i][2], suite) for p in pools]
                    for i in range(len(models))]
        judged = models + (at_pools[place] if place is not None else [])
        # The first moment at which whoever is chosen then passes the pools.
        for t in sorted({j.when for j in models + sum(at_pools, [])} - {NEVER}):
            then = next((i for i, j in enumerate(models) if j.when <= t), None)
            if then is not None and all(j.when <= t for j in at_pools[then]):
                hint = models[then].hint or any(j.hint for j in at_pools[then])
                return place, judged, t, not hint
        return place, judged, 0, False

    def acquire(self, step, now, call, session, tenant, candidates):
        pools = self.pools(tenant)
        record = self.record(call, now)
        if record:
            return self.replay(now, call, record, candidates, pools)
        place, judged, when, exact = self.decide(now, candidates, pools)
        generation = candidates[place][0].generation if place is not None else 0
        if when != now:
            return ('refused', place or 0, when, exact, generation, 0, 0, 0, False, judged)
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
            if resource.concurrency:
                resource.leases[call] = [session, record.fence, now + LEASE]
            j.remaining, j.seq = resource.remaining(now), resource.seq
        if record.probe:
            model.breaker, model.probe, model.probe_end = 'half_open', call, now + LEASE
        return ('granted', place, 0, False, generation, record.fence, LEASE, USE_BY, record.probe,
                judged)

    def replay(self, now, call, record, candidates, pools):
        if not record.held or record.state == 'cancelled':
            return ('cancelled', 0, 0, False, 0, 0, 0, 0, False, [])
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
                record.probe, judged)

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


def answer_acquire(limiter, step, now, words):
    _, _, _, call, session, tenant, _, *rest = words
    candidates = [(limiter.resource(rest[i]), *map(int, rest[i + 1:i + 5]))
                  for i in range(0, len(rest), 5)]
    *verdict, judged = limiter.acquire(step, now, call, session, int(tenant), candidates)
    return ' '.join(['A', call] + [str(int(v) if isinstance(v, bool) else v) for v in verdict] +
                    [str(j) for j in judged])


def answer_report(limiter, step, now, words):
    call, model, tenant = words[3:6]
    outcome, model_tokens, pool_tokens, partial, retry, digest, undispatched = map(int, words[6:13])
    result, settlements = limiter.report(
        step, now, call, held_of(limiter, model, tenant), undispatched, outcome, model_tokens,
        pool_tokens, partial, retry, digest)
    return ' '.join(['C', call, str(result)] + [':'.join(map(str, s)) for s in settlements])


def answer_renew(limiter, step, now, words):
    session, call, fence, model, tenant, *rest = words[3:]
    model_output, pool_output, seq = map(int, rest)
    lost = limiter.renew(step, now, session, call, int(fence), held_of(limiter, model, tenant),
                         (model_output, pool_output), seq)
    return 'N %s %s' % (call, lost)


def answer_limit(limiter, step, now, words):
    refused = limiter.limit(step, now, limiter.resource(words[3]), [int(w) for w in words[4:]])
    return 'L %s %d' % (words[3], refused)


def answer_order(limiter, step, now, words):
    refused = limiter.order(step, now, words[3], limiter.resource(words[4]), int(words[5]))
    return 'O %s %d' % (words[4], refused)


ANSWERS = {'A': answer_acquire, 'C': answer_report, 'N': answer_renew, 'L': answer_limit,
           'O': answer_order}


def take_step(limiter, step, batch):
    suite = [limiter.resource('suite')]
    held = {'A': lambda w: limiter.pools(int(w[5])) + [limiter.resource(n) for n in w[7::5]],
            'C': lambda w: held_of(limiter, w[4], w[5]), 'N': lambda w: held_of(limiter, *w[6:8]),
            'L': lambda w: suite + [limiter.resource(w[3])],
            'O': lambda w: suite + [limiter.resource(w[4])]}
    now = max([int(batch[0][2])] + [r.last_now for w in batch for r in held[w[0]](w)])
    answers = {}
    for places in ([i for i, w in enumerate(batch) if w[0] != 'A'],
                   [i for i, w in enumerate(batch) if w[0] == 'A']):
        for i in places:
            answers[i] = ANSWERS[batch[i][0]](limiter, step, now, batch[i])
    return [answers[i] for i in range(len(batch))]


def main():
    limiter, batch = Limiter(), []

    def flush():
        if batch:
            for line in take_step(limiter, batch[0][1], batch):
                sys.stdout.write(line + '\n')
            batch.clear()

    for line in sys.stdin:
        words = line.split()
        if batch and words[1] != batch[0][1]:
            flush()
        if words[0] == 'R':
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
