"""The bus: no act twice and no reply crossed, in a state machine of everything that network and server can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.figures.figure import Figure
from tests.unit.bus.test_at_most_once import MODEST, Wire

STEPS = 100_000
"""Examples end early now and then, so somewhat more are asked for."""


class _Counted(Wire):  # type: ignore[misc]  # the tests are not typed
    """Adds up the steps of all examples, and keeps how often an act was done at most."""

    total, most = 0, 0

    def teardown(self) -> None:
        """Count what this example did."""
        type(self).total += self.steps
        type(self).most = max(type(self).most, self._most())
        super().teardown()


def figures(slow: bool) -> Iterator[Figure]:
    """Yield how often one act was done at most; in 100,000 steps only with ``slow``."""
    _Counted.total = _Counted.most = 0
    each: dict[str, Any] = {"max_examples": 560, "stateful_step_count": 200} if slow else {}
    failed = ""
    try:
        run_state_machine_as_test(_Counted, settings=settings(MODEST, derandomize=not slow, database=None, **each))
    except AssertionError as error:
        failed = str(error)[:200]
    most, total = _Counted.most, _Counted.total
    how = "hypothesis chooses among acts, duplicates, losses, delays, replays, reordering, kills of server and agent, "
    how += f"restarts; a model knows what each act may have come to; {failed or 'no reply differed from it'}"
    ok = not failed and most <= 1 and (not slow or total >= STEPS)
    yield Figure("bus_act_done_at_most", most, "times", f"1, in {STEPS:,} steps" if slow else "1", ok, total, how)
