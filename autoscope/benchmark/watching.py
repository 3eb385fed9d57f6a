"""What is noted of a campaign while it runs: one line a measurement, maps at checkpoints, and when it is enough."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from autoscope.benchmark.entrant import Entrant
from autoscope.benchmark.pool import Pool
from autoscope.benchmark.trace import SERIES, Array, Belief, Trace
from autoscope.engine.events import StepEvent
from autoscope.errors import ModelError
from autoscope.protocols import Estimating
from autoscope.records import Intervention, Measure, MoveStage, Scalar


class Watch:
    """Listens to a run, and ends it after enough measurements.

    Parameters
    ----------
    target : str
        Name of the scalar that counts as a measurement.
    policy : object
        Asked for its belief at the checkpoints, where it has one.
    entrant : Entrant
        Knows how long each decision took.
    enough : int, optional
        Measurements after which the run is stopped.
    maps_at : collection of int
        The checkpoints.
    """

    def __init__(
        self, target: str, policy: object, entrant: Entrant, enough: int | None, maps_at: Collection[int]
    ) -> None:
        self._target, self._entrant, self._enough = target, entrant, enough
        self._policy = policy if isinstance(policy, Estimating) else None
        self._maps_at = frozenset(maps_at)
        self._places_m: list[tuple[float, float]] = []
        self._rows: list[tuple[float, ...]] = []
        self._maps: dict[int, Belief] = {}
        self._at_m: tuple[float, float] | None = None
        self._travel_m = 0.0

    # --- the engine's listener and inbox --------------------------------------------------------------

    def on_step(self, event: StepEvent) -> None:
        """Note a step."""
        action, outcome = event.decision.action, event.outcome
        if isinstance(action, Measure):
            self._go(outcome.state.x_m + action.x_m, outcome.state.y_m + action.y_m)
        elif isinstance(action, MoveStage):
            self._go(outcome.state.x_m, outcome.state.y_m)
        scalar = next((value for value in outcome.values if value.name == self._target), None)
        if isinstance(action, Measure) and outcome.status == "done" and scalar is not None:
            self._measured(event, action, scalar)

    def take(self) -> list[Intervention]:
        """Return a stop once enough is measured."""
        if self._enough is None or len(self._rows) < self._enough:
            return []
        why = f"{self._enough} measurements were asked for"
        return [Intervention(who="arena", when="", why=why, command="stop")]

    # --- what was noted -------------------------------------------------------------------------------

    def trace(self, pool: Pool, peak_rss_bytes: int, notes: Mapping[str, Any]) -> Trace:
        """Return all that was noted, with places as candidates of the pool; maps of another size are left out."""
        series = np.array(self._rows, dtype=np.float64).reshape(-1, len(SERIES)).T
        size = len(pool.xy_m)
        return Trace(
            chosen=pool.nearest(np.array(self._places_m, dtype=np.float64).reshape(-1, 2)),
            **dict(zip(SERIES, series, strict=True)),
            maps={n: belief for n, belief in self._maps.items() if belief[0].shape == belief[1].shape == (size,)},
            peak_rss_bytes=peak_rss_bytes,
            notes=notes,
        )

    def _go(self, x_m: float, y_m: float) -> None:
        if self._at_m is not None:
            self._travel_m += math.hypot(x_m - self._at_m[0], y_m - self._at_m[1])
        self._at_m = (x_m, y_m)

    def _measured(self, event: StepEvent, action: Measure, scalar: Scalar) -> None:
        told = event.decision
        self._places_m.append((action.x_m, action.y_m))
        self._rows.append(
            (
                scalar.value,
                scalar.std,
                event.spent.time_s or 0.0,
                event.spent.dose_e or 0.0,
                self._travel_m,
                self._entrant.latency_s,
                math.nan if told.predicted_mean is None else told.predicted_mean,
                math.nan if told.predicted_std is None else told.predicted_std,
            )
        )
        if self._policy is not None and (len(self._rows) in self._maps_at or len(self._rows) == self._enough):
            self._keep(self._policy)

    def _keep(self, policy: Estimating) -> None:
        try:
            mean, sd = policy.estimate()
        except ModelError:
            return  # no belief yet
        self._maps[len(self._rows)] = _numbers(mean), _numbers(sd)


def _numbers(values: Any) -> Array:
    return np.array(values, dtype=np.float64)
