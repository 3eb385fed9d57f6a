"""What a survey will do and cost, predicted before any beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.exposure import predict
from autoscope.records import Action, Measure, MoveStage, SetOptics, Stage, View
from policies.stages import stage
from policies.survey.config import SurveyConfig


def planned_stages(config: SurveyConfig, centres_m: NDArray[np.float64], view: View) -> tuple[Stage, ...]:
    """Return the stages of a survey of the tiles at ``centres_m`` (n, 2) with predicted acts, time, dose and data."""
    whole = len(centres_m)
    tiles = _affordable(config, whole, view)
    step = MoveStage(x_m=view.state.x_m + config.tile.fov_m)
    corners = [MoveStage(x_m=float(x), y_m=float(y)) for x, y in (centres_m.min(axis=0), centres_m.max(axis=0))]
    probe = Measure(x_m=0.0, y_m=0.0, dwell_s=config.dwell_s, signals=config.signals)
    series: list[Action] = [SetOptics(defocus_m=0.0), config.focus.scan()]
    of_all = f"{tiles} of " * (tiles < whole) + f"{whole} tiles of {config.tile.fov_m * 1e6:g} um"
    stages = [
        stage("travel", [step], tiles, view, of_all).replace(examples=tuple(corners), whole=whole / tiles),
        stage("focus", series, config.focus.images * max(1, tiles // 6), view, "about every sixth tile"),
        stage("overview", [config.tile.scan()], tiles, view, ", ".join(config.tile.detectors)),
    ]
    if config.strategy == "in_order":
        return (*stages, _rest(config, stages, [probe], view, "every particle in the order found"))
    scouts = stage("scouts", [probe], tiles * config.scouts, view, f"at most {config.scouts} a tile")
    visit: list[Action] = [step, config.align.scan(), *[probe] * config.visit]
    rest = _rest(config, [*stages, scouts], visit, view, f"visits of at most {config.visit} particles")
    return (*stages, scouts, rest)


def _affordable(config: SurveyConfig, tiles: int, view: View) -> int:
    """Return how many tiles are seen in the share of the time that overviews may take, at least one."""
    left_s = view.budget.time_s
    if left_s is None or config.strategy != "agent":
        return tiles
    probe = Measure(x_m=0.0, y_m=0.0, dwell_s=config.dwell_s, signals=config.signals)
    series: list[Action] = [SetOptics(defocus_m=0.0), config.focus.scan()] * max(1, config.focus.images // 6)
    acts: list[Action] = [MoveStage(x_m=view.state.x_m + config.tile.fov_m), *series, config.tile.scan()]
    each_s = sum(predict(a, view.state, view.capabilities).time_s for a in [*acts, *[probe] * config.scouts])
    return max(1, min(tiles, int(config.overview_share * left_s / each_s)))


def _rest(config: SurveyConfig, before: list[Stage], visit: list[Action], view: View, note: str) -> Stage:
    if view.budget.time_s is None:
        return stage("spectra", visit, 1, view, f"{note}; without a time budget until all are measured")
    once = stage("spectra", visit, 1, view, note)
    left_s = max(0.0, view.budget.time_s - sum(s.time_s for s in before))
    return stage("spectra", visit, int(left_s / once.time_s), view, f"{note}, for what is left of the time")
