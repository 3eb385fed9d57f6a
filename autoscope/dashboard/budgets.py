"""What a run may spend, what it has spent, and when that will be all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoscope.dashboard.columns import Steps
from autoscope.dashboard.model import RunModel

RECENT = 50
"""Steps from whose pace the end is foretold."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One kind of expense; ``limit`` None where there is none, ``left_s`` None where nothing foretells the end."""

    name: str
    unit: str
    spent: float
    limit: float | None
    left_s: float | None

    @property
    def share(self) -> float | None:
        """Spent share of the limit, 1 at most."""
        return None if not self.limit else min(1.0, self.spent / self.limit)


def budgets(model: RunModel, at: int | None = None) -> tuple[Budget, ...]:
    """Return time, dose, acts, spectra where their number is limited, and data; now or after a step of the past."""
    steps = model.steps if at is None else model.steps.until(at + 1)
    over = np.flatnonzero(np.isfinite(steps.ended_s))
    last = int(over[-1]) if over.size else None
    now_s = float(steps.ended_s[last]) if at is not None and last is not None else model.last_s
    # acts may end in another order than they began; the counter only grows
    dose_e = 0.0 if last is None else float(np.nanmax(steps.dose_e[over])) - model.start_dose_e
    spent = {
        "time": now_s - model.first_s,
        "dose": max(0.0, dose_e),
        "acts": float(steps.concluded()),
        "spectra": float(np.isfinite(steps.values.get(model.target, np.zeros(0))).sum()),
        "data": float(np.nansum(steps.bytes)),
    }
    limits = {name: _limit(model, name) for name in spent}
    if limits["spectra"] is None:
        del spent["spectra"]
    pace = _pace(steps, over)
    return tuple(
        Budget(name, _UNITS[name], spent[name], limits[name], _left_s(spent[name], limits[name], pace.get(name)))
        for name in spent
    )


def end_in_s(found: tuple[Budget, ...]) -> tuple[float, str] | None:
    """Return in how many seconds of the run's clock the first budget is spent, and which; None where none is."""
    known = [(b.left_s, b.name) for b in found if b.left_s is not None]
    return min(known) if known else None


_UNITS = {"time": "s", "dose": "e", "acts": "", "spectra": "", "data": "B"}


def _limit(model: RunModel, name: str) -> float | None:
    match name:
        case "acts":
            return model.number("budget", "steps")
        case "spectra":
            return model.number("policy", "options", "points")
        case _:
            return model.number("budget", name)


def _pace(steps: Steps, over: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, float]:
    """Return what a second costs, from the last steps."""
    recent = over[-RECENT:]
    if recent.size < 2:
        return {"time": 1.0}
    took_s = float(steps.ended_s[recent[-1]] - steps.ended_s[recent[0]])
    if took_s <= 0.0:
        return {"time": 1.0}
    electrons = float(steps.dose_e[recent[-1]] - steps.dose_e[recent[0]])
    rate, volume = (recent.size - 1) / took_s, float(np.nansum(steps.bytes[recent[1:]])) / took_s
    return {"time": 1.0, "dose": electrons / took_s, "acts": rate, "spectra": rate, "data": volume}


def _left_s(spent: float, limit: float | None, pace: float | None) -> float | None:
    if limit is None or not pace or pace <= 0.0 or not math.isfinite(pace):
        return None
    return max(0.0, (limit - spent) / pace)
