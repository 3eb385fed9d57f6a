"""A list of places, one after the other: an image and spectra around each. What a person wants to see again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from autoscope.acquisition.travel import ordered_by_travel
from autoscope.chance import state_digest
from autoscope.config import ConfigModel
from autoscope.exposure import predict
from autoscope.protocols import JsonValue
from autoscope.quantities import Length, PositiveDuration, PositiveLength
from autoscope.records import (
    Action,
    Capabilities,
    Decision,
    Finish,
    LoadSample,
    MoveStage,
    Result,
    SetOptics,
    SpectrumImage,
    Stage,
    View,
    Wait,
)
from policies.field import MAX_TRIES, OverviewConfig, all_signals, unaffordable


class Position(ConfigModel):
    """A place in stage coordinates."""

    x_m: Length
    y_m: Length
    defocus_m: Length | None = None
    """Set before it is looked at; none given leaves the focus alone."""
    slot: NonNegativeInt | None = None
    """Of the carousel; none given means the sample that is loaded."""
    label: str = ""


class SpectraConfig(ConfigModel):
    """The spectrum image around a place; one pixel is a single spectrum."""

    fov_m: PositiveLength = 40e-9
    width_px: PositiveInt = 8
    height_px: PositiveInt = 8
    dwell_s: PositiveDuration = 0.1
    """Of each pixel."""
    signals: tuple[str, ...] = ()
    """Spectrum signals to record; none given means all the instrument has."""


class VisitPolicy:
    """Goes to every place in an order that makes the way short, waits for the stage, images it, records its spectra.

    A place where an act fails twice is left, and the next one is visited. `autoscope report` writes a configuration
    for this policy with the places a person should look at next.
    """

    checkpointed: ClassVar[bool] = True

    class Config(ConfigModel):
        """Settings of the visits."""

        positions: tuple[Position, ...] = Field(min_length=1)
        order: tuple[int, ...] | None = None
        """Indices of the positions in the order wanted; none given: a short way from the first."""
        settle_s: PositiveDuration | None = 20.0
        """Waited after each move, because stages creep; null does not wait."""
        image: OverviewConfig | None = OverviewConfig(fov_m=500e-9, width_px=256, height_px=256)
        """Taken of each place; null takes none."""
        spectra: SpectraConfig | None = SpectraConfig()
        """Recorded around each place; null records none."""

        @model_validator(mode="after")
        def _names_each_once(self) -> Self:
            if self.order is not None and sorted(self.order) != list(range(len(self.positions))):
                raise ValueError(f"order must name each of the {len(self.positions)} positions once, from 0")
            return self

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self.config = config
        self._rng = rng
        self._order = self._shortest() if config.order is None else list(config.order)
        self._at_ = self._act_ = self._tries_ = self._left_out_ = 0

    def _shortest(self) -> list[int]:
        """Return the slots one after the other, the places of each on a short way."""
        places = self.config.positions
        order: list[int] = []
        for slot in dict.fromkeys(p.slot for p in places):
            mine = [k for k, p in enumerate(places) if p.slot == slot]
            points = np.array([[places[k].x_m, places[k].y_m] for k in mine])
            order += [mine[i] for i in ordered_by_travel(points, points[0])]
        return order

    # --- the decision -------------------------------------------------------------------------------

    def ask(self, view: View) -> Decision | Finish:
        """Return the next act at the present place, or `Finish` after the last place or without budget for it."""
        at, act = self._after(len(view.pending))
        if at >= len(self._order):
            left = f", {self._left_out_} of them given up after failed acts" if self._left_out_ else ""
            return Finish(reason=f"All {len(self._order)} places have been visited{left}.")
        action, purpose, what = self._acts(at, view.capabilities)[act]
        name = self._name(at)
        decision = Decision(
            action=action,
            purpose=purpose,
            target=name,
            reason=f"{what} {name}, place {at + 1} of {len(self._order)} on a short way.",
            random_state_sha256=state_digest(self._rng),
        )
        return unaffordable(action, view) or decision

    def _acts(self, at: int, capabilities: Capabilities) -> list[tuple[Action, str, str]]:
        config, place = self.config, self._place(at)
        acts: list[tuple[Action, str, str]] = []
        if place.slot is not None and self._changes_sample(at):
            acts.append((LoadSample(slot=place.slot), "sample", "The sample is loaded for"))
        acts.append((MoveStage(x_m=place.x_m, y_m=place.y_m), "travel", "The stage goes to"))
        if place.defocus_m is not None:
            acts.append((SetOptics(defocus_m=place.defocus_m), "focus", "The focus known before is set for"))
        if config.settle_s is not None:
            acts.append((Wait(duration_s=config.settle_s), "settle", "The stage settles at"))
        if config.image is not None:
            acts.append((config.image.scan(capabilities), "overview", "An image is taken of"))
        if config.spectra is not None:
            acts.append((self._spectra(config.spectra, capabilities), "spectra", "Spectra are recorded around"))
        return acts

    @staticmethod
    def _spectra(wanted: SpectraConfig, capabilities: Capabilities) -> SpectrumImage:
        return SpectrumImage(
            fov_m=wanted.fov_m,
            width_px=wanted.width_px,
            height_px=wanted.height_px,
            dwell_s=wanted.dwell_s,
            signals=all_signals(wanted.signals, capabilities),
            detectors=(),  # the dwell of a spectrum may saturate an image detector
        )

    def _after(self, pending: int) -> tuple[int, int]:
        """Return place and act that follow once everything pending is done."""
        at, act = self._at_, self._act_
        for _ in range(pending):
            at, act = self._following(at, act)
        return at, act

    def _following(self, at: int, act: int) -> tuple[int, int]:
        if at >= len(self._order):
            return at, act
        return (at, act + 1) if act + 1 < self._count(at) else (at + 1, 0)

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return the visits with their predicted time and dose."""
        acts = [each for at in range(len(self._order)) for each in self._acts(at, view.capabilities)]
        purposes = dict.fromkeys(purpose for _, purpose, _ in acts)
        stages = []
        for purpose in purposes:
            costs = [predict(action, view.state, view.capabilities) for action, of, _ in acts if of == purpose]
            total = {name: sum(getattr(c, name) for c in costs) for name in ("time_s", "dose_e", "bytes")}
            stages.append(Stage(name=purpose, acts=len(costs), **total))
        return tuple(stages)

    # --- what was told ------------------------------------------------------------------------------

    def tell(self, decision: Decision, result: Result) -> None:
        """Go on after a success; after two failures leave the place."""
        if self._at_ >= len(self._order) or decision.target != self._name(self._at_):
            return
        if result.outcome.status == "done":
            self._at_, self._act_ = self._following(self._at_, self._act_)
            self._tries_ = 0
            return
        self._tries_ += 1
        if self._tries_ >= MAX_TRIES:
            self._at_, self._act_, self._tries_, self._left_out_ = self._at_ + 1, 0, 0, self._left_out_ + 1

    def _place(self, at: int) -> Position:
        return self.config.positions[self._order[at]]

    def _name(self, at: int) -> str:
        return self._place(at).label or f"place {self._order[at] + 1}"

    def _changes_sample(self, at: int) -> bool:
        return at == 0 or self._place(at - 1).slot != self._place(at).slot

    def _count(self, at: int) -> int:
        """Return how many acts a place takes; that does not depend on the instrument."""
        place, config = self._place(at), self.config
        loads = place.slot is not None and self._changes_sample(at)
        wanted = (loads, place.defocus_m is not None, config.settle_s is not None)
        return 1 + sum(wanted) + (config.image is not None) + (config.spectra is not None)

    def state(self) -> dict[str, JsonValue]:
        """Return where the visits are as JSON data."""
        return {"at": self._at_, "act": self._act_, "tries": self._tries_, "left_out": self._left_out_}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state returned by `state`."""
        self._at_, self._act_ = state["at"], state["act"]
        self._tries_, self._left_out_ = state["tries"], state["left_out"]
