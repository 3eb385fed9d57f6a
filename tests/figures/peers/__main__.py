"""``python -m tests.figures.peers --methods random botorch_xy --sets CuZn --seeds 0:20 --n 100``: extend the record."""

from __future__ import annotations

import argparse
import sys

from tests.figures.arena.sets import names
from tests.figures.peers.recorded import METHODS, missing, run


def main() -> int:
    """Run what is not recorded yet; exit status 1 where a peer failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.peers")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--sets", nargs="*", default=names())
    parser.add_argument("--seeds", default="0:20", help="from:to, the last not included")
    parser.add_argument("--n", type=int, default=100, help="measurements a campaign")
    given = parser.parse_args()
    absent = [m for m in given.methods if not METHODS[m].installed]
    if absent:
        print(f"not installed, left out: {absent} (make peers)", file=sys.stderr)
    methods = [m for m in given.methods if m not in absent]
    first, last = (int(part) for part in given.seeds.split(":"))
    failed = 0
    for name, method, seed in missing(given.sets, methods, range(first, last), given.n):
        try:
            done = run(name, method, seed, given.n)
        except (RuntimeError, OSError) as error:
            failed += 1
            print(f"{name} {method} {seed}: {error}", file=sys.stderr, flush=True)
            continue
        reached = done.to_95 if done.to_95 is not None else "-"
        print(f"{name} {method} seed {seed}: n95 {reached} top {done.top} nrmse {done.nrmse}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
