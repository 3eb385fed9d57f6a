"""What all policies for one field of view share: one overview, then points on its pixels until enough is measured."""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from autoscope.chance import state_digest, stream
from autoscope.config import ConfigModel
from autoscope.errors import Unsupported
from autoscope.exposure import predict
from autoscope.protocols import JsonValue
from autoscope.quantities import Length, PositiveDuration, PositiveLength
from autoscope.records import (
    Action,
    Calibration,
    Candidate,
    Capabilities,
    Decision,
    Finish,
    FitSummary,
    Measure,
    Result,
    Scan,
    Stage,
    View,
    Wait,
)
from autoscope.wishes import Wishes
from policies.pixels import Indices, PixelGrid, image_from_plain, image_to_plain
from policies.stages import all_signals as all_signals
from policies.stages import field_stages
from policies.wanted import wanted

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

OVERVIEW = "overview"
MAX_TRIES = 2
"""A pixel that failed this often is left alone; an overview that failed this often is done without."""
MAX_VALUELESS = 5
"""So many spectra without a value of the target, and none with one, mean that the target is misnamed."""
RUNNERS_UP = 5


class OverviewConfig(ConfigModel):
    """The image taken before any spectrum; ignored where stored data have one image only."""

    fov_m: PositiveLength = 100e-9
    width_px: PositiveInt = 128
    height_px: PositiveInt = 128
    dwell_s: PositiveDuration = 5e-6
    detector: str = "HAADF"
    centre_x_m: Length = Field(default=0.0, exclude_if=lambda value: value == 0.0)
    """Offset of its centre from the optical axis."""
    centre_y_m: Length = Field(default=0.0, exclude_if=lambda value: value == 0.0)

    def scan(self, capabilities: Capabilities) -> Scan:
        """Return the scan to take: the instrument's only one, or as configured."""
        return capabilities.native_scan or Scan(
            fov_m=self.fov_m,
            width_px=self.width_px,
            height_px=self.height_px,
            dwell_s=self.dwell_s,
            centre_x_m=self.centre_x_m,
            centre_y_m=self.centre_y_m,
            detectors=(self.detector,),
        )


class FieldConfig(ConfigModel):
    """Settings of every policy for one field of view."""

    target: str = Field(min_length=1)
    """Name of the scalarized target to learn from."""
    overview: OverviewConfig = OverviewConfig()
    dwell_s: PositiveDuration = 0.1
    """Of each spectrum."""
    signals: tuple[str, ...] = ()
    """Spectrum signals to record; none given means all the instrument has."""
    point_detectors: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Image detectors read in the same dwell as every spectrum, e.g. ``[HAADF]``."""
    points: PositiveInt | None = None
    """Stop after this many good measurements; absent means when the budget ends."""
    stride_px: PositiveInt = 1
    """Only every so many-th overview pixel is a candidate."""


@dataclass(frozen=True)
class Situation:
    """What a decision rule chooses from.

    Attributes
    ----------
    candidates : array of int64
        Pixels that could be measured.
    forbidden : array of bool
        Of the candidates: measured, pending or given up.
    pending : array of int64
        Pixels being measured now.
    view : View
        All that was seen when the decision was asked for.
    rng : numpy.random.Generator
        Chance for this decision alone.
    """

    candidates: Indices
    forbidden: Mask
    pending: Indices
    view: View
    rng: np.random.Generator


@dataclass(frozen=True)
class Estimate:
    """A candidate (index among the candidates) and what is thought of it; NaN where nothing is."""

    index: int
    mean: float = math.nan
    std: float = math.nan
    value: float = math.nan


@dataclass(frozen=True)
class Choice:
    """What a decision rule answers."""

    best: Estimate
    reason: str
    acquisition: str
    parameters: Mapping[str, float]
    runners_up: Sequence[Estimate]
    fit: FitSummary | None = None
    calibration: Calibration | None = None


class FieldPolicy(abc.ABC):
    """Overview first, then one spectrum after another at exact pixel centres.

    Everything follows from what was told: chance for a decision is drawn from a stream named by the number of
    outcomes known and pending, so asking twice gives the same answer, and telling a journal again gives the
    same policy.
    """

    Config: ClassVar[type[FieldConfig]] = FieldConfig
    lookahead: ClassVar[bool] = True
    """Pending acts are respected: the next can be decided while one is under way."""
    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""
    follows: frozenset[str] = frozenset({"excluded", "pinned", "within", "dwell_s"})

    def __init__(self, config: FieldConfig, *, rng: np.random.Generator) -> None:
        self._field = config
        self._root_ = int(rng.integers(2**63))
        self._told_ = 0
        self._overview_tries_ = 0
        self._grid_: PixelGrid | None = None
        self._image_: Array | None = None
        self._pixels_: list[int] = []
        self._values_: list[float] = []
        self._stds_: list[float] = []
        self._unit_ = ""
        self._tries_: dict[int, int] = {}
        self._valueless_ = 0

    # --- the decision -------------------------------------------------------------------------------

    def ask(self, view: View) -> Decision | Finish:
        """Return the overview, then a spectrum at a pixel, then `Finish`."""
        rng = stream(self._root_, f"decision {self._told_ + len(view.pending)}")
        decision = self._overview(view) if self._grid_ is None else self._spectrum(view, self._grid_, rng)
        return unaffordable(decision.action, view) or decision if isinstance(decision, Decision) else decision

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return the overview and the spectra with predicted time, dose and data."""
        field, scan = self._field, self._field.overview.scan(view.capabilities)
        signals, also = all_signals(field.signals, view.capabilities), field.point_detectors
        x_m, y_m = scan.centre_x_m, scan.centre_y_m
        probe = Measure(x_m=x_m, y_m=y_m, dwell_s=field.dwell_s, signals=signals, detectors=also)
        return field_stages(scan, probe, field.points, field.stride_px, view)

    def _overview(self, view: View) -> Decision:
        scan = PixelGrid(self._field.overview.scan(view.capabilities)).scan  # refuses a rotated one before it is taken
        if any(isinstance(action, Scan) for action in view.pending):
            duration_s = predict(scan, view.state, view.capabilities).time_s
            return Decision(
                action=Wait(duration_s=duration_s), purpose="wait", reason="The overview is still being taken."
            )
        reason = "An overview comes first: it shows where spectra can be taken and what each place looks like."
        return Decision(action=scan, purpose=OVERVIEW, reason=reason, target="field of view")

    def _spectrum(self, view: View, grid: PixelGrid, rng: np.random.Generator) -> Decision | Finish:
        pending = self._pending(view, grid)
        if (done := self._finished(len(pending))) is not None:
            return done
        forbidden = self._forbidden(pending)
        forbidden, followed = wanted(view, grid, self._candidates, forbidden)
        if forbidden.all():
            return Finish(reason=f"All {len(forbidden)} candidate pixels are measured, excluded or were given up.")
        digest = state_digest(rng)
        choice = self._choose(Situation(self._candidates, forbidden, pending, view, rng))
        decision = self._decision(choice, forbidden, view, grid, digest)
        return decision.replace(order=view.wishes.sent) if followed else decision

    def check_wishes(self, wishes: Wishes) -> None:  # noqa: B027 - most policies have nothing to check
        """Return where it can follow these wishes; see `autoscope.protocols.Steerable`."""

    @abc.abstractmethod
    def _choose(self, situation: Situation) -> Choice:
        """Return what to measure; at least one candidate is open."""

    def _decision(self, choice: Choice, forbidden: Mask, view: View, grid: PixelGrid, digest: str) -> Decision:
        best = choice.best
        action, *others = self._measures([best.index, *(e.index for e in choice.runners_up)], view, grid)
        return Decision(
            action=action,
            purpose="spectrum",
            reason=choice.reason,
            target=grid.name(int(self._candidates[best.index])),
            predicted_mean=_finite(best.mean),
            predicted_std=_finite(best.std),
            acquisition=choice.acquisition,
            acquisition_value=_finite(best.value),
            acquisition_parameters=dict(choice.parameters),
            runners_up=tuple(
                Candidate(action=other, mean=_finite(e.mean), std=_finite(e.std), value=_finite(e.value))
                for other, e in zip(others, choice.runners_up, strict=True)
            ),
            candidates=int((~forbidden).sum()),
            candidates_sha256=_sha256(self._positions_sha256.encode(), np.packbits(~forbidden).tobytes()),
            fit=choice.fit,
            calibration=choice.calibration,
            data_sha256=self._data_sha256(),
            random_state_sha256=digest,
        )

    def _measures(self, indices: list[int], view: View, grid: PixelGrid) -> list[Measure]:
        dwell_s, signals = self._dwell_s(view), all_signals(self._field.signals, view.capabilities)
        places = grid.positions(self._candidates[indices]).tolist()
        also = self._field.point_detectors
        return [Measure(x_m=x, y_m=y, dwell_s=dwell_s, signals=signals, detectors=also) for x, y in places]

    def _dwell_s(self, view: View) -> float:
        return view.wishes.dwell_s or self._field.dwell_s

    def _finished(self, pending: int) -> Finish | None:
        if self._field.points is not None and len(self._values_) + pending >= self._field.points:
            return Finish(reason=f"All {self._field.points} spectra asked for are measured.")
        if self._valueless_ >= MAX_VALUELESS and not self._values_:
            return Finish(reason=f"No spectrum gave a value of {self._field.target!r}: check the name of the target.")
        return None

    # --- candidates ---------------------------------------------------------------------------------

    @cached_property
    def _candidates(self) -> Indices:
        return self._known_grid().strided(self._field.stride_px)

    @cached_property
    def _positions_sha256(self) -> str:
        return _sha256(self._known_grid().positions(self._candidates).tobytes())

    def _known_grid(self) -> PixelGrid:
        if self._grid_ is None:
            raise Unsupported("there are no candidates before the overview")
        return self._grid_

    def _pending(self, view: View, grid: PixelGrid) -> Indices:
        places = [grid.pixel_at(a.x_m, a.y_m) for a in view.pending if isinstance(a, Measure)]
        return np.array([p for p in places if p is not None], dtype=np.int64)

    def _forbidden(self, pending: Indices) -> Mask:
        given_up = [pixel for pixel, tries in self._tries_.items() if tries >= MAX_TRIES]
        barred = np.zeros(self._known_grid().size, dtype=np.bool_)
        for pixels in (self._pixels_, given_up, pending):
            barred[np.asarray(pixels, dtype=np.int64)] = True
        return barred[self._candidates]

    # --- what was told ------------------------------------------------------------------------------

    def tell(self, decision: Decision, result: Result) -> None:
        """Learn from an overview, or from a spectrum anywhere on its pixels, whoever decided it."""
        self._told_ += 1
        action = decision.action
        if isinstance(action, Scan) and decision.purpose == OVERVIEW and self._grid_ is None:
            self._take_overview(action, result)
        elif isinstance(action, Measure) and self._grid_ is not None:
            pixel = self._grid_.pixel_at(action.x_m, action.y_m)
            if pixel is not None:
                self._take_measurement(pixel, result)

    def _take_overview(self, scan: Scan, result: Result) -> None:
        frame = result.frame(scan.detectors[0]) if result.outcome.status == "done" else None
        if frame is not None and frame.data.shape == (scan.height_px, scan.width_px):
            self._image_ = np.asarray(frame.data, dtype=np.float64)
        else:
            self._overview_tries_ += 1
        if self._image_ is not None or self._overview_tries_ >= MAX_TRIES:
            self._grid_ = PixelGrid(scan)

    def _take_measurement(self, pixel: int, result: Result) -> None:
        if result.outcome.overruled:
            return
        scalar = result.value(self._field.target)
        if result.outcome.status != "done" or scalar is None:
            self._tries_[pixel] = self._tries_.get(pixel, 0) + 1
            self._valueless_ += result.outcome.status == "done"
            return
        self._pixels_.append(pixel)
        self._values_.append(scalar.value)
        self._stds_.append(scalar.std)
        self._unit_ = scalar.unit

    def _data_sha256(self) -> str:
        pixels = np.asarray(self._pixels_, dtype="<i8").tobytes()
        return _sha256(pixels, *(np.asarray(v, dtype="<f8").tobytes() for v in (self._values_, self._stds_)))

    def state(self) -> dict[str, JsonValue]:
        """Return all that was learnt as JSON data."""
        return {
            "root": self._root_,
            "told": self._told_,
            "overview_tries": self._overview_tries_,
            "scan": None if self._grid_ is None else self._grid_.scan.model_dump(mode="json"),
            "image": None if self._image_ is None else image_to_plain(self._image_),
            "pixels": list(self._pixels_),
            "values": list(self._values_),
            "stds": list(self._stds_),
            "unit": self._unit_,
            "tries": {str(pixel): tries for pixel, tries in self._tries_.items()},
            "valueless": self._valueless_,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the next decisions are those of the policy that returned it."""
        scan, image = state["scan"], state["image"]
        self._root_, self._told_ = state["root"], state["told"]
        self._overview_tries_, self._valueless_ = state["overview_tries"], state["valueless"]
        self._grid_ = None if scan is None else PixelGrid(Scan.model_validate(scan, strict=False))
        self._image_ = None if image is None else image_from_plain(image)
        self._pixels_, self._values_ = list(state["pixels"]), list(state["values"])
        self._stds_, self._unit_ = list(state["stds"]), state["unit"]
        self._tries_ = {int(pixel): tries for pixel, tries in state["tries"].items()}
        self.__dict__.pop("_candidates", None)
        self.__dict__.pop("_positions_sha256", None)


def unaffordable(action: Action, view: View) -> Finish | None:
    """Return why an action is beyond what is left to spend, or None if it is not."""
    cost, left = predict(action, view.state, view.capabilities), view.budget
    if left.steps is not None and left.steps < 1:
        return Finish(reason="No steps are left.")
    if left.time_s is not None and cost.time_s > left.time_s:
        return Finish(reason=f"The {left.time_s:.3g} s left do not pay for a {action.kind} of {cost.time_s:.3g} s.")
    if left.dose_e is not None and cost.dose_e > left.dose_e:
        return Finish(
            reason=f"The {left.dose_e:.3g} electrons left do not pay for a {action.kind} of {cost.dose_e:.3g}."
        )
    return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
