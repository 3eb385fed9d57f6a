"""``python -m tests.figures [main_job] [--slow]``: measure and print; exit status 1 where a goal is missed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from tests.figures import main_job
from tests.figures.figure import Figure

GROUPS: dict[str, Callable[[bool], Iterator[Figure]]] = {"main_job": main_job.figures}


def main() -> int:
    """Print every figure of the chosen groups as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures")
    parser.add_argument("only", nargs="*", choices=[[], *GROUPS], help="groups to measure (default: all)")
    parser.add_argument("--slow", action="store_true", help="also those that take longer than a few minutes")
    given = parser.parse_args()
    missed = 0
    for group in given.only or GROUPS:
        for figure in GROUPS[group](given.slow):
            print(figure.line(), flush=True)
            missed += figure.ok is False
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
