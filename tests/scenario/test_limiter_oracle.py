#!/usr/bin/python3
"""The short form of `make prove`: twenty routers, ten times the load, the limiter killed in the
middle; never more than 30 in any window nor 5 at once, by the simulator's arrival log. TAP.

On a machine that is busy with other tests less may be admitted than the proof asks for.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'load'))
import window  # noqa: E402


def main():
    verdict = window.prove('killed', scale=15, cycles=6, disturb=window.kill_limiter,
                           least=0.9, answered=0.5)
    print(('ok' if verdict.ok else 'not ok') + ' 1 - a limiter that is killed under overload admits '
          'what it may and no more')
    print('1..1')
    return not verdict.ok


if __name__ == '__main__':
    sys.exit(main())
