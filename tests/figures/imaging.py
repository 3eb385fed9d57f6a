"""Place and dwell chosen together against a fixed dwell: the dose each needs for the same result."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.config import Document
from autoscope.engine.assemble import Job, assemble, resolve
from autoscope.engine.events import StepEvent
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from environments.instruments.simulated.scan import coil_matrix
from tests.figures.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "beam_sensitive.yaml"
SEEDS = 20
QUICK_SEEDS = 6
FIXED_MS = {10: 12, 30: 12, 100: 5, 300: 5}
"""Fixed dwells, each with the number of starting looks that suits it: a dozen long ones is most of a run's dose."""
DEFAULT_MS = 100
"""The dwell every other policy of one field has by default."""
TOLERANCE = 0.2
"""Highest value: the place is truly within this of the highest, and its value is told within this."""
MAP_ERROR = 0.10
"""Map: root-mean-square error over the range of the true map."""
BUDGET_E = 2e10
STEPS = 400
NEVER_E = 1e15
"""Stands for a result that was not reached, so that medians and ratios stay defined."""
LIMITS = (f"budget.dose={BUDGET_E:g} e", f"budget.steps={STEPS}")


@dataclass(frozen=True)
class Reached:
    """What a run needed until its result was right for good; infinite where it never was."""

    dose_e: float
    acts: float
    time_s: float


class _Judge:
    """Compares what the policy believes after each act with the hidden truth."""

    def __init__(self, job: Job, goal: str) -> None:
        self._job, self._goal = job, goal
        self._truth: NDArray[np.float64] | None = None
        self.rows: list[tuple[bool, float, int, float]] = []

    def on_step(self, event: StepEvent) -> None:
        """Note whether the result is right, and what was spent."""
        estimate = self._job.policy.estimate()
        spent = event.spent
        right = estimate is not None and self._right(estimate)
        self.rows.append((right, spent.dose_e, spent.steps, spent.time_s))

    def _right(self, estimate: Any) -> bool:
        if self._truth is None:
            self._truth = true_rates(self._job, estimate.positions_m)
        truth = self._truth
        if self._goal == "map":
            return bool(np.sqrt(np.mean((estimate.mean - truth) ** 2)) <= MAP_ERROR * np.ptp(truth))
        top = int(np.argmax(estimate.mean))
        found = truth[top] >= (1.0 - TOLERANCE) * truth.max()
        return bool(found and abs(estimate.mean[top] - truth[top]) <= TOLERANCE * truth[top])

    def reached(self) -> Reached:
        """Return what had been spent when the result became right to stay so."""
        wrong = [k for k, row in enumerate(self.rows) if not row[0]]
        first = wrong[-1] + 1 if wrong else 0
        if first >= len(self.rows):
            return Reached(math.inf, math.inf, math.inf)
        _, dose_e, acts, time_s = self.rows[first]
        return Reached(dose_e, acts, time_s)


def true_rates(job: Job, positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected value per electron on the pristine specimen where the probe really lands, (m,)."""
    environment = job.environment
    scan = job.resolved.environment.options.microscope.scan
    places = np.asarray(environment.truth()["view_m"]) + positions_m @ coil_matrix(scan).T
    specimen = environment._instrument._carousel.specimen
    (scalarizer,) = job.scalarizers.values()
    axis = next(s.axis for s in specimen.signals if s.name == "EDS")
    return np.asarray(specimen.spectrum("EDS", places[:, 0], places[:, 1], 0.0) @ scalarizer.weights(axis))


def run(goal: str, seed: int, *overrides: str) -> Reached:
    """Run the configuration in memory and return what its result needed."""
    document = Document.read(CONFIG)
    for assignment in (f"seed={seed}", f"policy.options.goal={goal}", *LIMITS, *overrides):
        document.override(assignment)
    job = assemble(resolve(document))
    judge = _Judge(job, goal)
    end = Engine(job, MemoryJournal(clock=job.clock, keep_frames=False), listener=judge).run()
    if end.status.value != "completed":
        raise RuntimeError(end.reason)
    return judge.reached()


def fixed(dwell_ms: float, repeats: bool, initial: int) -> tuple[str, ...]:
    """Return the overrides that make the policy use one dwell."""
    once = f"policy.options.repeats={str(repeats).lower()}"
    return (f"policy.options.dwells=[{dwell_ms:g} ms]", once, f"policy.options.initial={initial}")


def median_ratio(above: list[float], below: list[float]) -> tuple[float, float, float]:
    """Return the ratio of medians of paired runs and its 95 % bootstrap interval (percentile, over pairs)."""
    pairs = np.array([above, below])
    rng = np.random.default_rng(0)
    draws = rng.integers(pairs.shape[1], size=(4000, pairs.shape[1]))
    ratios = np.median(pairs[0][draws], axis=1) / np.median(pairs[1][draws], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(pairs[0]) / np.median(pairs[1])), float(low), float(high)


def figures(slow: bool) -> Iterator[Figure]:
    """Yield, for a search and a map, what each way needs, and the ratios; few seeds, and no map, unless ``slow``."""
    for goal in ("maximise", "map") if slow else ("maximise",):
        yield from _of(goal, SEEDS if slow else QUICK_SEEDS)


def _of(goal: str, seeds: int) -> Iterator[Figure]:
    ways: dict[str, tuple[str, ...]] = {"joint": ()}
    for dwell_ms, initial in FIXED_MS.items():
        ways[f"fixed_{dwell_ms}ms"] = fixed(dwell_ms, False, initial)
    ways["repeated_30ms"] = fixed(30, True, FIXED_MS[30])
    doses: dict[str, list[float]] = {}
    for way, overrides in ways.items():
        runs = [run(goal, seed, *overrides) for seed in range(seeds)]
        doses[way] = [min(r.dose_e, NEVER_E) for r in runs]
        missed = sum(dose >= NEVER_E for dose in doses[way])
        how = f"{_result(goal)}; median of {seeds} seeds, acts {np.median([r.acts for r in runs]):g}; missed {missed}"
        yield Figure(f"dose_{goal}_{way}", float(np.median(doses[way])), "e", "", None, seeds, how)
    best = min((w for w in ways if w.startswith("fixed")), key=lambda w: float(np.median(doses[w])))
    for name, way, goal_ratio in (
        (f"default_{DEFAULT_MS}ms", f"fixed_{DEFAULT_MS}ms", 3.0),
        ("best_fixed", best, 3.0),
        ("best_fixed_repeated", "repeated_30ms", None),
    ):
        ratio, low, high = median_ratio(doses[way], doses["joint"])
        how = f"{way} over joint, medians; 95 % interval [{low:.3g}, {high:.3g}]; not reached counts as {NEVER_E:g} e"
        wanted, ok = (">= 3", ratio >= goal_ratio) if goal_ratio else ("", None)
        yield Figure(f"dose_ratio_{goal}_{name}", round(ratio, 2), "x", wanted, ok, seeds, how)


def _result(goal: str) -> str:
    if goal == "map":
        return f"electrons until the map's rms error stays below {MAP_ERROR:.0%} of its range"
    return f"electrons until a place truly within {TOLERANCE:.0%} of the highest stays named, its value told as well"
