"""How well the model foresaw what was measured, and what it would have measured next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autoscope.report.finds import STANDS_OUT, Usual, ranked
from autoscope.report.mosaic import busiest_slot, overviews
from autoscope.report.pictures import Footprint
from autoscope.report.story import Measurement, Proposal, Reading, RunStory
from autoscope.report.wording import with_std
from autoscope.surrogates.calibration import Calibration, calibration, coverage

Floats = NDArray[np.float64]
LEVELS = (0.5, 0.8, 0.9, 0.95)
NEAR = 0.01
"""A proposal this close to a measured place, as a part of the overview's field, is that place seen with other drift."""
NEAREST_M = 1e-11
Z_90 = 1.6448536269514722
TOP = 10
MAY_STAND_OUT = 2.5
"""Standard deviations above the usual from which a place is worth a second measurement."""


@dataclass(frozen=True)
class Foresight:
    """Predictions made before a measurement against its result, both (n,) float64.

    ``std`` is that of predicting the measured value: model and measurement noise together.
    """

    measured: Floats
    mean: Floats
    std: Floats
    figures: Calibration
    covered: tuple[tuple[float, float], ...]
    """Nominal level and share of values really inside the central interval of that level."""
    correlation: float
    """Spearman's rank correlation of predicted means and measured values: does the model rank well? NaN below 3."""


@dataclass(frozen=True)
class Suggestion:
    """A place worth looking at next."""

    what: str
    slot: int
    x_m: float
    y_m: float
    label: str
    expected: str
    step: int


def foresight(story: RunStory, target: str) -> Foresight | None:
    """Return how predictions of a target compare with its measured values, None where none were made.

    A policy predicts the target it is after; other targets have no predictions.
    """
    if target != story.predicted():
        return None
    rows = [
        (r.value, m.predicted_mean, float(np.hypot(m.predicted_std, r.std)))
        for m in story.measurements
        if (r := m.reading(target)) and m.predicted_mean is not None and m.predicted_std is not None
    ]
    judged = [row for row in rows if row[2] > 0]
    if not judged:
        return None
    y, mean, std = np.array(judged, dtype=np.float64).T
    covered = tuple((level, coverage(y, mean, std, level)) for level in LEVELS)
    return Foresight(y, mean, std, calibration(y, mean, std), covered, _rank_correlation(mean, y))


def _rank_correlation(a: Floats, b: Floats) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    from scipy.stats import spearmanr  # 0.3 s: only when there is something to compare

    return float(spearmanr(a, b).statistic)


def unmeasured(story: RunStory, most: int) -> list[Proposal]:
    """Return the best places that were considered but never measured, highest expected value first.

    Each place once, with its latest prediction.
    """
    taken = [(m.slot, m.x_m, m.y_m) for m in story.measurements]
    fresh = _fresh([p for p in story.proposals if p.kind == "measure"], taken, _near_m(story))
    return sorted(fresh, key=lambda p: -_worth(p))[:most]


def unvisited(story: RunStory, most: int) -> list[Proposal]:
    """Return the best stage positions that the last decision with such runners-up considered, and nobody went to."""
    moves = [p for p in story.proposals if p.kind == "go"]
    last = [p for p in moves if p.step == moves[-1].step] if moves else []
    later = _since(story, last[0].step) if last else []
    return sorted(_fresh(last, later, _near_m(story)), key=lambda p: -_worth(p))[:most]


def _near_m(story: RunStory) -> float:
    pictures = overviews(story, busiest_slot(story))
    fields_m = [f.width_px * f.pixel_x_m for p in pictures if (f := Footprint.of(p.ref.meta))]
    return max(NEAREST_M, NEAR * min(fields_m, default=0.0))


def _since(story: RunStory, step: int) -> list[tuple[int, float, float]]:
    moved = sum(1 for a in story.acts if a.kind == "move_stage" and a.status == "done" and a.step >= step)
    return list(story.visited[-moved:]) if moved else []


def _worth(proposal: Proposal) -> float:
    known = (proposal.mean, proposal.value)
    return next((v for v in known if v is not None), -np.inf)


def _fresh(proposals: Sequence[Proposal], taken: Sequence[tuple[int, float, float]], near_m: float) -> list[Proposal]:
    """Return the proposals that are not at a taken place, the latest of each place."""
    latest = list({(p.slot, round(p.x_m / near_m), round(p.y_m / near_m)): p for p in proposals}.values())
    if not latest or not taken:
        return latest
    far_m = 1.0  # carousel slots lie a metre apart in this index, so that one search serves all
    tree = cKDTree(np.array([(x_m + slot * far_m, y_m) for slot, x_m, y_m in taken]))
    distance_m, _ = tree.query(np.array([(p.x_m + p.slot * far_m, p.y_m) for p in latest]))
    return [p for p, d in zip(latest, np.atleast_1d(distance_m), strict=True) if d > near_m]


def undecided(story: RunStory, target: str, most: int) -> list[tuple[Measurement, Reading]]:
    """Return the places that a second measurement would settle, the most promising first.

    Where ten or more stand out, those whose 90 % interval holds the value of the tenth best: they may or may not
    belong to the ten best. Else those that are high but may be so by chance.
    """
    best = [(m, r) for m, r, _ in ranked(story, target, len(story.measurements)) if r.std > 0]
    usual = Usual.of(story.measured(target)[1])
    if len(best) > TOP and usual.above(best[TOP - 1][1]) > STANDS_OUT:
        threshold = best[TOP - 1][1].value
        return [(m, r) for m, r in best if abs(r.value - threshold) <= Z_90 * r.std][:most]
    return [(m, r) for m, r in best if MAY_STAND_OUT < usual.above(r) <= STANDS_OUT][:most]


def suggestions(story: RunStory, most: int = 8) -> list[Suggestion]:
    """Return what to look at next: never measured, not settled, and not visited."""
    target = next(iter(story.targets()), "")
    unit = next((r.unit for m in story.measurements if (r := m.reading(target))), "")
    found = [
        Suggestion("measure", p.slot, p.x_m, p.y_m, f"candidate of step {p.step}", _expected(p, unit), p.step)
        for p in unmeasured(story, most)
    ]
    found += [
        Suggestion(
            "measure again", m.slot, m.x_m, m.y_m, m.target, f"{with_std(r.value, r.std)} {r.unit} measured", m.step
        )
        for m, r in undecided(story, target, most)
    ]
    found += [
        Suggestion("go to", p.slot, p.x_m, p.y_m, f"candidate of step {p.step}", _expected(p, ""), p.step)
        for p in unvisited(story, most)
    ]
    return found


def _expected(proposal: Proposal, unit: str) -> str:
    if proposal.mean is not None:
        return f"{with_std(proposal.mean, proposal.std or 0.0)} {unit} expected".replace("  ", " ")
    return f"worth {proposal.value:.3g} to the policy" if proposal.value is not None else "not predicted"
