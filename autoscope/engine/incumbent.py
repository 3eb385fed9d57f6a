"""The best found so far: after every act it is known from what is already recorded."""

from __future__ import annotations

from pydantic import NonNegativeFloat

from autoscope.records import Decision, Measure, Outcome, Scalar, Scan, SpectrumImage, Value


class Best(Value):
    """The highest value of a target so far, and where it was measured."""

    name: str
    """The target."""
    value: float
    std: NonNegativeFloat
    unit: str
    step: int
    act_id: str
    target: str
    """What was measured, e.g. ``particle 340``."""
    sample_slot: int
    x_m: float
    """In the stage frame, with the offset of the probe."""
    y_m: float


class Incumbents:
    """Keeps the highest value of every target; the first of equal ones."""

    def __init__(self) -> None:
        self._best: dict[str, Best] = {}

    def take(self, step: int, decision: Decision, outcome: Outcome) -> None:
        """Take note of an act that was done; the others found nothing."""
        if outcome.status != "done":
            return
        for scalar in outcome.values:
            known = self._best.get(scalar.name)
            if known is None or scalar.value > known.value:
                self._best[scalar.name] = _best(step, decision, outcome, scalar)

    @property
    def best(self) -> tuple[Best, ...]:
        """The best of every target, in the order of their names."""
        return tuple(self._best[name] for name in sorted(self._best))


def _best(step: int, decision: Decision, outcome: Outcome, scalar: Scalar) -> Best:
    action, state = decision.action, outcome.state
    dx_m = dy_m = 0.0
    if isinstance(action, Measure):
        dx_m, dy_m = action.x_m, action.y_m
    elif isinstance(action, (Scan, SpectrumImage)):
        dx_m, dy_m = action.centre_x_m, action.centre_y_m
    return Best(
        name=scalar.name,
        value=scalar.value,
        std=scalar.std,
        unit=scalar.unit,
        step=step,
        act_id=outcome.act_id,
        target=decision.target,
        sample_slot=state.sample_slot,
        x_m=state.x_m + dx_m,
        y_m=state.y_m + dy_m,
    )
