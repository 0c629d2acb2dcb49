#!/usr/bin/python3
"""What the limiter promises, shown with real processes and judged by the simulator's arrival log.

    prove.py [PROOF...]        without names: all; --list names them

Each prints what it measured and what it had to be, and fails when it was not.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tokens  # noqa: E402
import trouble  # noqa: E402
import waiting  # noqa: E402
import window  # noqa: E402

PROOFS = {
    'memory': lambda name: window.prove(name, scale=10, cycles=10),
    'limiter-killed': lambda name: window.prove(name, scale=10, cycles=10,
                                                disturb=window.kill_limiter),
    'real-time': lambda name: window.prove(name, scale=1, cycles=3),
    'redis': lambda name: window.prove(name, scale=10, cycles=10, limiters=3, redis=True),
    'redis-limiter-killed': lambda name: window.prove(
        name, scale=10, cycles=10, limiters=3, redis=True, disturb=window.kill_limiter),
    'redis-killed': lambda name: window.prove(
        name, scale=10, cycles=10, limiters=3, redis=True, disturb=window.kill_redis),
    'leaks': trouble.leaks,
    'probe': trouble.probe,
    'tokens-sliding': lambda name: tokens.prove(name, 'sliding_minute'),
    'eta': waiting.eta,
    'shares': waiting.shares,
    'tokens-continuous': lambda name: tokens.prove(name, 'continuous'),
}


def main(names):
    if names == ['--list']:
        print('\n'.join(PROOFS))
        return 0
    verdicts = [PROOFS[name](name) for name in names or PROOFS]
    for verdict in verdicts:
        print(f"{'ok' if verdict.ok else 'not ok'} - {verdict.name}", flush=True)
    return any(not verdict.ok for verdict in verdicts)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
