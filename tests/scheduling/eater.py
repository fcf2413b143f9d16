"""A program that truly eats memory: ``python eater.py MIB [--seconds S] [--hold S] [--limit-mb L]``.

It takes MIB mebibytes evenly over S seconds (every page is written), holds them, and ends with exit code 0.
With ``--limit-mb`` it limits its own address space first (RLIMIT_AS), so that taking more raises MemoryError;
with ``--polite`` that ends it as our own programs end, with a sentence and exit code 5.
Only the standard library is used, so that it starts small.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

_STEP_MB = 2
_MIB = 1 << 20


def main() -> int:
    """Eat."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mib", type=int)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--hold", type=float, default=0.0)
    parser.add_argument("--limit-mb", type=int)
    parser.add_argument("--polite", action="store_true")
    options = parser.parse_args()
    if options.limit_mb:
        resource.setrlimit(resource.RLIMIT_AS, (options.limit_mb * _MIB, options.limit_mb * _MIB))
    held = []
    steps = max(1, options.mib // _STEP_MB)
    try:
        for _ in range(steps):
            held.append(bytearray(b"\1") * (_STEP_MB * _MIB))
            time.sleep(options.seconds / steps)
    except MemoryError:
        if not options.polite:
            raise
        held.clear()
        sys.stderr.write("my3dis: error: the memory ran out with 1 scene; use a smaller one\n")
        return 5
    time.sleep(options.hold)
    return 0


if __name__ == "__main__":
    sys.exit(main())
