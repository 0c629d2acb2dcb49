#!/usr/bin/python3
"""Judges a limiter by what arrived at the provider: brute force over the simulator's arrival log.

It knows nothing of how the limiter works. Times are the simulator's own, in milliseconds of
CLOCK_MONOTONIC; the form of the log is described in services/simulator/arrivals.h.

    oracle.py FILE [window=MS] [guard=MS] [requests=N] [concurrency=N]

prints what the log proves, and fails when more arrived than may have.
"""
import json
import sys


class Call:
    def __init__(self, start):
        self.begin = start['t_ms']
        self.end = float('inf')  # it runs
        self.model = start['model']
        self.operation = start['operation']
        self.input = start['input_tokens'] + start.get('cache_write_tokens', 0)
        self.cache_read = start.get('cache_read_tokens', 0)
        self.max_tokens = start['max_tokens']
        self.outcome = ''
        self.cause = ''
        self.status = 0
        self.output = 0
        self.settled = 0


def read(lines):
    """All calls in the order of arrival, but those that count tokens only."""
    calls = {}
    for line in lines:
        line = line.strip()
        if not line:
            continue
        event = json.loads(line)
        if event['event'] == 'start':
            calls[event['id']] = Call(event)
        else:
            call = calls[event['id']]
            call.end = event['t_ms']
            call.outcome = event['outcome']
            call.cause = event['cause']
            call.status = event['status']
            call.output = event['output_tokens']
            call.settled = event['settled']
    ordered = sorted(calls.values(), key=lambda call: call.begin)
    return [call for call in ordered if call.operation != 'count']


def most_in_window(calls, window):
    """Most arrivals in any half-open stretch of time that is so long: all pairs are looked at, as a
    stretch with most arrivals can be moved until it begins with one."""
    return max((sum(1 for other in calls if call.begin <= other.begin < call.begin + window)
                for call in calls), default=0)


def most_at_once(calls):
    """Most that ran together: at the arrival of one of them."""
    return max((sum(1 for other in calls if other.begin <= call.begin < other.end)
                for call in calls), default=0)


def most_tokens(calls, window):
    """Most tokens, as the provider settled them, of calls that arrived in such a stretch."""
    return max((sum(other.settled for other in calls
                    if call.begin <= other.begin < call.begin + window) for call in calls), default=0)


def throttled(calls):
    return [call for call in calls if call.status == 429 or call.outcome == 'throttled']


def admitted_share(calls, n, window, guard, until, outages=()):
    """What arrived, in parts of what the window allows: n each window + guard.

    Counted from the first arrival on for as many whole windows as there are before `until`, which
    is when no more was offered. outages: pairs of times in which the limiter could not admit; what
    they cost is taken off the time. Returns the share and the milliseconds it is counted over."""
    if not calls:
        return 0.0, 0.0
    cycle = window + guard
    begin = calls[0].begin
    spans = [(begin, until)]
    for away, back in outages:
        spans = [piece for first, last in spans
                 for piece in ((first, min(last, away)), (max(first, back), last))
                 if piece[1] > piece[0]]
    arrived = counted = 0
    for first, last in spans:
        # A stretch after an outage begins with what is left of the window before.
        first = next((call.begin for call in calls if call.begin >= first), last)
        whole = int((last - first) / cycle) * cycle
        arrived += sum(1 for call in calls if first <= call.begin < first + whole)
        counted += whole
    if counted == 0:
        return 0.0, 0.0
    return arrived / (n * counted / cycle), counted


def percentile(values, p):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] if ordered else 0.0


def main(arguments):
    options = dict(argument.split('=', 1) for argument in arguments[1:])
    window = float(options.get('window', 60000))
    with open(arguments[0], encoding='utf-8') as file:
        calls = read(file)
    found = {'requests': most_in_window(calls, window), 'concurrency': most_at_once(calls)}
    print(f'{len(calls)} arrivals, {len(throttled(calls))} refused by the provider')
    failed = False
    for name, most in found.items():
        limit = int(options.get(name, 0))
        failed |= 0 < limit < most
        print(f'most {name}: {most}' + (f' of {limit}' if limit else ''))
    if 'requests' in options and calls:
        share, counted = admitted_share(calls, int(options['requests']), window,
                                        float(options.get('guard', 500)), calls[-1].begin)
        print(f'admitted: {100 * share:.1f} % of what the window allows in {counted / 1000:.1f} s')
    return failed


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
