"""Focus and stigmation together from a handful of images, as decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from autoscope.exposure import predict
from autoscope.perception.aberrations import Aberrations
from autoscope.protocols import JsonValue
from autoscope.records import Action, Decision, Finish, FitSummary, MicroscopeState, Result, Scan, SetOptics, View
from policies.align_search import AlignConfig, AlignSearch, Plan, Setting, Taken, in_nm, taken

FIELDS = ("defocus_m", "stigmator_a_m", "stigmator_b_m")
SAME = 1e-12
"""Settings closer than this are one setting (m)."""


class AlignPolicy:
    """Finds defocus and both stigmators where the stage stands, sets the best found, and finishes."""

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""

    class Config(AlignConfig):
        """How images are taken, and how many."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self._config = config
        self._search: AlignSearch | None = None
        self._word = ""

    def ask(self, view: View) -> Decision | Finish:
        """Return the next setting or image, at last the best setting; then the word at the end."""
        if self._word:
            return Finish(reason=self._word)
        search = self._search or AlignSearch(self._config, _setting(view.state))
        plan = search.plan(self._affordable(search, view))
        wanted = tuple(_within(view, name, value) for name, value in zip(FIELDS, plan.setting_m, strict=True))
        optics = SetOptics(defocus_m=wanted[0], stigmator_a_m=wanted[1], stigmator_b_m=wanted[2])
        fit = _summary(plan.found, len(search.taken))
        if plan.final:
            return Decision(action=optics, purpose="align", reason=plan.final, target="best", fit=fit)
        target, action = f"image {len(search.taken) + 1}", self._scan(plan)
        if math.dist(wanted, _setting(view.state)) > SAME:
            return Decision(action=optics, purpose="align", reason=plan.reason, target=target, fit=fit)
        return Decision(action=action, purpose="align", reason=plan.reason, target=target, fit=fit)

    def tell(self, decision: Decision, result: Result) -> None:
        """Learn an image or the last setting; a failed act is asked for again."""
        outcome = result.outcome
        if self._search is None:
            self._search = AlignSearch(self._config, _setting(outcome.state_before))
        if outcome.status != "done":
            return
        if isinstance(decision.action, SetOptics) and decision.target == "best":
            self._word = f"{decision.reason}; set: {_words(_setting(outcome.state))}"
        elif isinstance(decision.action, Scan) and result.frames:
            self._search.add(taken(self._config, decision.action, outcome.state, result.frames[0]))

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        search = self._search
        taken: list[Any] = (
            [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(t).items()} for t in search.taken]
            if search
            else []
        )
        return {"start_m": list(search.start_m) if search else None, "taken": taken, "word": self._word}

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""
        data: Any = state
        self._search, self._word = None, str(data["word"])
        if data["start_m"] is not None:
            d, a, b = data["start_m"]
            self._search = AlignSearch(self._config, (d, a, b))
            for item in data["taken"]:
                kept: dict[str, Any] = {
                    name: tuple(value) if isinstance(value, list) else value for name, value in item.items()
                }
                self._search.taken.append(Taken(**kept))

    def _scan(self, plan: Plan) -> Scan:
        config = self._config
        return Scan(
            fov_m=plan.fov_m,
            width_px=config.size_px,
            height_px=config.size_px,
            dwell_s=config.dwell_s,
            centre_x_m=plan.centre_m[0],
            centre_y_m=plan.centre_m[1],
            detectors=(config.detector,),
        )

    def _affordable(self, search: AlignSearch, view: View) -> bool:
        """Return whether a setting, an image and the last setting still fit the budget."""
        acts: tuple[Action, ...] = (SetOptics(), self._scan(Plan(search.start_m, self._config.fov_m)), SetOptics())
        costs = [predict(act, view.state, view.capabilities) for act in acts]
        left = view.budget
        enough_time = left.time_s is None or sum(c.time_s for c in costs) <= left.time_s
        enough_dose = left.dose_e is None or sum(c.dose_e for c in costs) <= left.dose_e
        return enough_time and enough_dose and (left.steps is None or left.steps >= len(acts))


def _setting(state: MicroscopeState) -> Setting:
    return state.defocus_m, state.stigmator_a_m, state.stigmator_b_m


def _within(view: View, name: str, value_m: float) -> float:
    allowed = view.capabilities.ranges.get(name)
    return min(max(value_m, allowed.low), allowed.high) if allowed else value_m


def _words(setting_m: Setting) -> str:
    return f"defocus {in_nm(setting_m[0])}, stigmators {in_nm(setting_m[1])} and {in_nm(setting_m[2])}"


def _summary(found: Aberrations | None, n: int) -> FitSummary | None:
    if found is None:
        return None
    numbers = dict(zip(("defocus_m", "astigmatism_a_m", "astigmatism_b_m"), map(float, found.offset_m), strict=True))
    stds = (math.sqrt(float(v)) for v in np.diag(found.covariance_m2))
    numbers |= dict(zip(("defocus_std_m", "astigmatism_a_std_m", "astigmatism_b_std_m"), stds, strict=True))
    more = {"std_m": found.std_m, "width_factor": found.width_factor, "misfit": found.misfit}
    return FitSummary(model="probe from power spectra", n=n, hyperparameters=numbers | more)
