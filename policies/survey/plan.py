"""What a survey will do and cost, predicted before any beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.exposure import predict
from autoscope.perception.focus_map import FocusMap
from autoscope.records import Action, MoveStage, SetOptics, Stage, View
from policies.stages import stage
from policies.survey.config import KeepFocusConfig, SurveyConfig
from policies.survey.in_depth import planned_in_depth
from policies.survey.upkeep import planned_upkeep

ALIGNED = 3
"""Alignment images of a visit: on arrival, while the stage creeps, and once more before its end."""
WALKED = 300
"""Tiles over which the focus series are counted one by one."""


def planned_stages(config: SurveyConfig, centres_m: NDArray[np.float64], view: View) -> tuple[Stage, ...]:
    """Return the stages of a survey of the tiles at ``centres_m`` (n, 2) with predicted acts, time, dose and data."""
    whole = len(centres_m)
    tiles = _affordable(config, whole, view)
    step = MoveStage(x_m=view.state.x_m + config.tile.fov_m)
    corners = [MoveStage(x_m=float(x), y_m=float(y)) for x, y in (centres_m.min(axis=0), centres_m.max(axis=0))]
    probe = config.probe(0.0, 0.0, config.dwell_s)
    series: list[Action] = [SetOptics(defocus_m=0.0), config.focus.scan()]
    of_all = f"{tiles} of " * (tiles < whole) + f"{whole} tiles of {config.tile.fov_m * 1e6:g} um"
    stages = [
        stage("travel", [step], tiles, view, of_all).replace(examples=tuple(corners), whole=whole / tiles),
        stage(
            "focus", series, _focus_images(config.focus, centres_m[:tiles]), view, "as the height map will need them"
        ),
        stage("overview", [config.tile.scan()], tiles, view, ", ".join(config.tile.detectors)),
    ]
    stages += planned_upkeep(config, tiles, view)
    stages += planned_in_depth(config.in_depth, config.target, view)
    if config.strategy == "in_order":
        return (*stages, _rest(config, stages, [probe], view, "every particle in the order found"))
    scouts = stage("scouts", [probe], tiles * config.scouts, view, f"at most {config.scouts} a tile")
    visit: list[Action] = [step, *[config.align.scan()] * ALIGNED, *[probe] * config.visit]
    rest = _rest(config, [*stages, scouts], visit, view, f"visits of at most {config.visit} particles")
    return (*stages, scouts, rest)


def _focus_images(config: KeepFocusConfig, centres_m: NDArray[np.float64]) -> int:
    """Return how many focus images the tiles will need.

    How certain the height map is depends on where series were taken, not on what they gave; so the plan walks over the
    tiles as the survey will. Beyond `WALKED` tiles the later half of them stands for the rest.
    """
    known = FocusMap(length_m=config.map_length_m, amplitude_m=config.map_amplitude_m, noise_m=config.tolerance_m / 4)
    series = []
    for x_m, y_m in centres_m[:WALKED]:
        uncertain = known.predict(float(x_m), float(y_m))[1] > config.tolerance_m
        series.append(uncertain)
        if uncertain:
            known.add(float(x_m), float(y_m), 0.0)
    later = series[len(series) // 2 :]
    beyond = max(0, len(centres_m) - WALKED) * sum(later) / len(later)
    each = images_a_series(config)
    return round((sum(series) + beyond) * each) + 2 * config.images - 1 - each  # the very first series is longer


def images_a_series(config: KeepFocusConfig) -> int:
    """Return how many images a focus series takes, except the very first."""
    return 2 if config.pairs else config.images


def _affordable(config: SurveyConfig, tiles: int, view: View) -> int:
    """Return how many tiles are seen in the share of the time that overviews may take, at least one."""
    left_s = view.budget.time_s
    if left_s is None or config.strategy != "agent":
        return tiles
    probe = config.probe(0.0, 0.0, config.dwell_s)
    series: list[Action] = [SetOptics(defocus_m=0.0), config.focus.scan()] * max(1, images_a_series(config.focus) // 3)
    acts: list[Action] = [MoveStage(x_m=view.state.x_m + config.tile.fov_m), *series, config.tile.scan()]
    each_s = sum(predict(a, view.state, view.capabilities).time_s for a in [*acts, *[probe] * config.scouts])
    return max(1, min(tiles, int(config.overview_share * left_s / each_s)))


def _rest(config: SurveyConfig, before: list[Stage], visit: list[Action], view: View, note: str) -> Stage:
    if view.budget.time_s is None:
        return stage("spectra", visit, 1, view, f"{note}; without a time budget until all are measured")
    once = stage("spectra", visit, 1, view, note)
    left_s = max(0.0, view.budget.time_s - sum(s.time_s for s in before))
    return stage("spectra", visit, int(left_s / once.time_s), view, f"{note}, for what is left of the time")
