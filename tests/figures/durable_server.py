"""Bus servers killed at every call of their ledger, their instrument and their sockets."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fault.doomed_server import ServerBench
from tests.figures.figure import Figure

RARELY, AGAIN_EVERY = 29, 23


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the share of runs that survive; every call of the server only with ``slow``."""
    every = 1 if slow else RARELY
    yield _killed("simulated", outlives=False, lookahead=0, every=every)
    yield _killed("simulated_lookahead", outlives=False, lookahead=1, every=2 * every - 1)
    yield _killed("column", outlives=True, lookahead=0, every=2 * every - 1)
    yield _killed("simulated_twice", outlives=False, lookahead=1, every=AGAIN_EVERY if slow else 150, again=True)


def _killed(name: str, *, outlives: bool, lookahead: int, every: int, again: bool = False) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        bench = ServerBench(Path(folder), outlives=outlives, lookahead=lookahead)
        failed, struck, kinds = list[str](), 0, Counter[str]()
        points = [(at, both) for at in range(1, len(bench.calls) + 1, every) for both in (False, True)]
        for number, (at, both) in enumerate(points):
            again_at = 7 + 5 * number if again else 0
            try:
                call = bench.survives(at, done_first=(at + both) % 2 == 0, agent_too=both, again_at=again_at)
            except AssertionError as error:
                failed.append(f"{at}{' both' if both else ''}: {str(error)[:120]}")
                continue
            struck += bool(call)
            kinds[call.partition(".")[0]] += bool(call)
    n = struck + len(failed)
    where = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()) if count)
    fate = (
        "a column that outlives it: decisions equal but for the act cut short, which is unknown, asked for anew by the "
        "policy, and never done twice by the column's own count"
        if outlives
        else "a simulated instrument that dies with it: actions, values, doses and frames equal to the whole run's"
    )
    how = (
        f"server, 8 acts over the bus{', lookahead' * lookahead}: SIGKILL at {_every(every)} of its {len(bench.calls)} "
        f"calls ({where}), before or after it in turns, agent alive and agent killed too{_twice(again)}; {fate}; "
        f"{len(points) - n} ended before the call; {failed or 'none differs'}"
    )
    share = (n - len(failed)) / n if n else 0.0
    return Figure(f"server_kills_survived_{name}", share, "", "1.0", not failed and n > 0, n, how)


def _every(every: int) -> str:
    return "each" if every == 1 else f"one in {every}"


def _twice(again: bool) -> str:
    return ", and the server once more in its second life" if again else ""
