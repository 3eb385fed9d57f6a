"""What a survey will do and cost, predicted before any beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.exposure import predict
from autoscope.records import Action, Measure, MoveStage, SetOptics, Stage, View
from policies.survey.config import SurveyConfig


def planned_stages(config: SurveyConfig, centres_m: NDArray[np.float64], view: View) -> tuple[Stage, ...]:
    """Return the stages of a survey of the tiles at ``centres_m`` (n, 2) with predicted acts, time, dose and data."""
    tiles = len(centres_m)
    step = MoveStage(x_m=view.state.x_m + config.tile.fov_m)
    corners = [MoveStage(x_m=float(x), y_m=float(y)) for x, y in (centres_m.min(axis=0), centres_m.max(axis=0))]
    probe = Measure(x_m=0.0, y_m=0.0, dwell_s=config.dwell_s, signals=config.signals)
    series: list[Action] = [SetOptics(defocus_m=0.0), config.focus.scan()]
    stages = [
        _stage("travel", [step], tiles, view, f"{tiles} tiles of {config.tile.fov_m * 1e6:g} um").replace(
            examples=tuple(corners)
        ),
        _stage("focus", series, config.focus.images * max(1, tiles // 6), view, "about every sixth tile"),
        _stage("overview", [config.tile.scan()], tiles, view, ", ".join(config.tile.detectors)),
    ]
    if config.strategy == "in_order":
        return (*stages, _rest(config, stages, [probe], view, "every particle in the order found"))
    scouts = _stage("scouts", [probe], tiles * config.scouts, view, f"at most {config.scouts} a tile")
    visit: list[Action] = [step, config.align.scan(), *[probe] * config.visit]
    rest = _rest(config, [*stages, scouts], visit, view, f"visits of at most {config.visit} particles")
    return (*stages, scouts, rest)


def _stage(name: str, acts: list[Action], times: int, view: View, note: str) -> Stage:
    costs = [predict(act, view.state, view.capabilities) for act in acts]
    return Stage(
        name=name,
        acts=len(acts) * times,
        time_s=times * sum(c.time_s for c in costs),
        dose_e=times * sum(c.dose_e for c in costs),
        bytes=times * sum(c.bytes for c in costs),
        note=note,
        examples=tuple(acts),
    )


def _rest(config: SurveyConfig, before: list[Stage], visit: list[Action], view: View, note: str) -> Stage:
    if view.budget.time_s is None:
        return _stage("spectra", visit, 1, view, f"{note}; without a time budget until all are measured")
    once = _stage("spectra", visit, 1, view, note)
    left_s = max(0.0, view.budget.time_s - sum(s.time_s for s in before))
    return _stage("spectra", visit, int(left_s / once.time_s), view, f"{note}, for what is left of the time")
