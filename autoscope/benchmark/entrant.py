"""A policy as it enters the arena: its opening may be set, its time is measured, and nothing else is different."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from autoscope.benchmark.config import PoolConfig
from autoscope.benchmark.pool import Pool
from autoscope.benchmark.trace import Array
from autoscope.chance import stream
from autoscope.protocols import JsonValue, Policy
from autoscope.records import Capabilities, Decision, Finish, Measure, Result, View

ARENA = "arena"
"""Who decided the measurements of a set opening."""


class Entrant:
    """Passes everything on to a policy.

    Parameters
    ----------
    policy : Policy
        The one that decides.
    pool : PoolConfig
        Where the opening is drawn from.
    opening : int
        So many first measurements are made at random candidates instead, the same for every policy of a seed.
    seed : int
        Of the run.
    stopwatch : callable
        Real seconds.
    """

    def __init__(
        self,
        policy: Policy,
        pool: PoolConfig,
        opening: int,
        seed: int,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._policy, self._pool, self._opening, self._seed = policy, pool, opening, seed
        self._stopwatch = stopwatch
        self._opened = 0
        self._places_m: Array | None = None
        self._since_s = 0.0
        self.latency_s = 0.0
        """Of the last decision: being told the outcome before it, and being asked."""
        self.total_s = 0.0
        """In all calls."""
        self.capabilities: Capabilities | None = None
        """Of the instrument, once it was asked."""

    def ask(self, view: View) -> Decision | Finish:
        """Return what the policy wants, or a measurement of the opening in place of its own."""
        self.capabilities = view.capabilities
        begun_s = self._stopwatch()
        answer = self._policy.ask(view)
        spent_s = self._stopwatch() - begun_s
        self.total_s += spent_s
        self.latency_s, self._since_s = self._since_s + spent_s, 0.0
        if isinstance(answer, Finish) or not isinstance(answer.action, Measure) or self._opened >= self._opening:
            return answer
        return self._of_the_opening(answer, answer.action, view)

    def tell(self, decision: Decision, result: Result) -> None:
        """Pass an outcome on."""
        self._opened += decision.decided_by == ARENA
        begun_s = self._stopwatch()
        self._policy.tell(decision, result)
        self._since_s = self._stopwatch() - begun_s
        self.total_s += self._since_s

    def state(self) -> dict[str, JsonValue]:
        """Return the state of the policy, and how far the opening is."""
        return {"opened": self._opened, "policy": self._policy.state()}

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state."""
        opened, policy = state["opened"], state["policy"]
        if isinstance(opened, int) and isinstance(policy, dict):
            self._opened = opened
            self._policy.restore(policy)

    def _of_the_opening(self, answer: Decision, action: Measure, view: View) -> Decision:
        x_m, y_m = (float(v) for v in self._places(view)[self._opened])
        return Decision(
            action=action.replace(x_m=x_m, y_m=y_m),
            purpose=answer.purpose,
            reason=f"Opening {self._opened + 1} of {self._opening}: the same random places for every policy.",
            decided_by=ARENA,
        )

    def _places(self, view: View) -> Array:
        if self._places_m is None:
            places = Pool.of(self._pool, view.capabilities).xy_m
            self._opening = min(self._opening, len(places))
            order = stream(self._seed, "opening").permutation(len(places))[: self._opening]
            self._places_m = np.asarray(places[order])
        return self._places_m
