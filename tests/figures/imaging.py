"""Place and dwell chosen together against a fixed dwell: the dose each needs for the same result.

Everything was settled on seeds 100 to 119; the figures are of seeds 0 to 19. All ways share the overview, the model,
the rule and the number of starting looks, so that nothing differs but how long a look may last and whether it is
repeated.
Ways named "few" start with fewer looks.
"""

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
MAP_SEEDS = 8
START = 12
"""Starting looks of every way."""
FEW = 4
"""Starting looks that suit fixed dwells better, on the seeds of development: theirs are long, and say the more."""
FIXED_MS = (10, 30, 100)
MAP_FIXED_MS = (30, 100)
DEFAULT_MS = 100
"""The dwell every other policy of one field has by default."""
TOLERANCE = 0.2
"""Highest value: the place is truly within this of the highest, and its value is told within this."""
MAP_ERROR = 0.04
"""Map: root-mean-square error over the range of the true map."""
BUDGET_E = {"maximise": 2e10, "map": 4e8}
STEPS = {"maximise": 400, "map": 120}
DEFOCI = "policy.options.defoci=[0 nm, 400 nm, 800 nm]"
BINNINGS = (
    "policy.options.binnings=[1, 3]",
    "policy.options.scalarizer={name: band_integral, options: {band: [2.8 keV, 3.5 keV]}}",
)
NEVER_E = 1e15
"""Stands for a result that was not reached, so that medians and ratios stay defined."""


@dataclass(frozen=True)
class Reached:
    """What a run needed until its result was right for good; infinite where it never was.

    ``ended_e`` are the electrons until the run ended by itself, infinite unless it did and was right: what is paid by
    somebody who does not know the truth.
    """

    dose_e: float
    acts: float
    ended_e: float


class _Judge:
    """Compares what the policy believes after each act with the hidden truth."""

    def __init__(self, job: Job, goal: str) -> None:
        self._job, self._goal = job, goal
        self._truth: NDArray[np.float64] | None = None
        self.rows: list[tuple[bool, float, int]] = []

    def on_step(self, event: StepEvent) -> None:
        """Note whether the result is right, and what was spent."""
        estimate = self._job.policy.estimate()
        spent = event.spent
        right = estimate is not None and self._right(estimate)
        self.rows.append((right, spent.dose_e, spent.steps))

    def _right(self, estimate: Any) -> bool:
        if self._truth is None:
            self._truth = true_rates(self._job, estimate.positions_m)
        truth = self._truth
        if self._goal == "map":
            return bool(np.sqrt(np.mean((estimate.mean - truth) ** 2)) <= MAP_ERROR * np.ptp(truth))
        top = int(np.argmax(estimate.mean))
        found = truth[top] >= (1.0 - TOLERANCE) * truth.max()
        return bool(found and abs(estimate.mean[top] - truth[top]) <= TOLERANCE * truth[top])

    def reached(self, by_itself: bool) -> Reached:
        """Return what had been spent when the result became right to stay so, and when the run ended."""
        wrong = [k for k, row in enumerate(self.rows) if not row[0]]
        first = wrong[-1] + 1 if wrong else 0
        if first >= len(self.rows):
            return Reached(math.inf, math.inf, math.inf)
        _, dose_e, acts = self.rows[first]
        return Reached(dose_e, acts, self.rows[-1][1] if by_itself else math.inf)


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
    limits = (f"budget.dose={BUDGET_E[goal]:g} e", f"budget.steps={STEPS[goal]}")
    common = (f"seed={seed}", f"policy.options.goal={goal}", f"policy.options.initial={START}", *limits)
    if goal == "map":
        common += (f"policy.options.precision={MAP_ERROR}",)
    for assignment in (*common, *overrides):
        document.override(assignment)
    job = assemble(resolve(document))
    judge = _Judge(job, goal)
    end = Engine(job, MemoryJournal(clock=job.clock, keep_frames=False), listener=judge).run()
    if end.status.value != "completed":
        raise RuntimeError(end.reason)
    return judge.reached("is known to" in end.reason)


def fixed(dwell_ms: float, repeats: bool, initial: int = START) -> tuple[str, ...]:
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
        yield from _of(goal, (MAP_SEEDS if goal == "map" else SEEDS) if slow else QUICK_SEEDS)


def ways_of(goal: str) -> dict[str, tuple[str, ...]]:
    """Return the overrides of every way that is compared."""
    dwells = MAP_FIXED_MS if goal == "map" else FIXED_MS
    ways: dict[str, tuple[str, ...]] = {"joint": (), "joint_with_binning": BINNINGS} | {
        f"fixed_{ms}ms": fixed(ms, False) for ms in dwells
    }
    if goal != "map":
        ways |= {f"few_fixed_{ms}ms": fixed(ms, False, FEW) for ms in FIXED_MS}
        ways["joint_with_defocus"] = (DEFOCI,)
    return ways


def _of(goal: str, seeds: int) -> Iterator[Figure]:
    ways = ways_of(goal)
    runs = {way: [run(goal, seed, *overrides) for seed in range(seeds)] for way, overrides in ways.items()}
    known = {way: [min(r.dose_e, NEVER_E) for r in found] for way, found in runs.items()}
    ended = {way: [min(r.ended_e, NEVER_E) for r in found] for way, found in runs.items()}
    for way, found in runs.items():
        how = f"{_result(goal)}; median of {seeds} seeds, acts {np.median([r.acts for r in found]):g}"
        yield _dose(f"dose_{goal}_{way}", known[way], how)
        yield _dose(f"dose_{goal}_{way}_ended", ended[way], "electrons until the run ends by itself, with that result")
    yield from _ratios(f"dose_ratio_{goal}", known)
    yield from _ratios(f"dose_ratio_{goal}_ended", ended)


def _dose(name: str, doses: list[float], how: str) -> Figure:
    missed = sum(dose >= NEVER_E for dose in doses)
    return Figure(name, float(np.median(doses)), "e", "", None, len(doses), f"{how}; missed {missed}")


def _ratios(name: str, doses: dict[str, list[float]]) -> Iterator[Figure]:
    def best(group: str) -> str:
        return min((w for w in doses if w.startswith(group)), key=lambda w: float(np.median(doses[w])))

    compared = {f"default_{DEFAULT_MS}ms": f"fixed_{DEFAULT_MS}ms", "best_fixed": best("fixed")}
    if any(way.startswith("few") for way in doses):
        compared |= {"best_fixed_few_starts": best("few")}
    for against, way in compared.items():
        yield _ratio(f"{name}_{against}", doses, way, "joint", 3.0)
    for way in (way for way in doses if way.startswith("joint_with")):
        yield _ratio(f"{name}_saved_{way.removeprefix('joint_')}", doses, "joint", way)


def _ratio(name: str, doses: dict[str, list[float]], above: str, below: str, goal: float | None = None) -> Figure:
    ratio, low, high = median_ratio(doses[above], doses[below])
    how = f"{above} over {below}, medians; 95 % interval [{low:.3g}, {high:.3g}]; not reached counts as {NEVER_E:g} e"
    wanted, ok = ("", None) if goal is None else (f">= {goal:g}", ratio >= goal)
    return Figure(name, round(ratio, 2), "x", wanted, ok, len(doses[above]), how)


def _result(goal: str) -> str:
    if goal == "map":
        return f"electrons until the map's rms error stays below {MAP_ERROR:.0%} of its range"
    return f"electrons until a place truly within {TOLERANCE:.0%} of the highest stays named, its value told as well"
