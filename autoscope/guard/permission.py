"""The guard: what may reach the instrument, and which frames may be learnt from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from pydantic import ValidationError

from autoscope.actions import CORRECTOR_FIELDS, OPTICS_FIELDS
from autoscope.config import LimitsConfig
from autoscope.errors import DoseExceeded, LimitExceeded, Unsupported
from autoscope.exposure import Cost, electrons, predict
from autoscope.guard import quality
from autoscope.guard.area_dose import AreaDose
from autoscope.guard.geometry import corners, path, probe_area_m2
from autoscope.guard.ranges import EVERYTHING, permitted, require, require_choice
from autoscope.records import (
    Action,
    Blank,
    Budget,
    Capabilities,
    Frame,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    Range,
    Scan,
    SetOptics,
    SetStimulus,
    SetValves,
    SpectrumImage,
    Wait,
    dark_frames,
)

_DUST = 1e-9
"""Part of the field by which a point may pass its edge through rounding."""


class Guard:
    """Refuses an action before any beam, and a frame before anybody learns from it. Keeps no state of the run.

    A courtesy copy of the protection beside the hardware, which has the last word.

    Parameters
    ----------
    limits : LimitsConfig
        Narrows what the instrument can do.
    capabilities : Capabilities
        What the instrument says of itself.
    saturated_fraction : float
        A frame with a larger part of saturated pixels is rejected.

    Raises
    ------
    ConfigError
        The limits leave nothing of the instrument's range.
    """

    def __init__(self, limits: LimitsConfig, capabilities: Capabilities, *, saturated_fraction: float) -> None:
        self._limits, self._capabilities = limits, capabilities
        self._saturated_fraction = saturated_fraction
        self._predicted: tuple[Action, MicroscopeState, Cost] | None = None
        self._signals = tuple(signal.name for signal in capabilities.signals)
        self.ranges = permitted(limits, capabilities)
        self._field = {axis: self._reach(axis) for axis in ("x_m", "y_m")}

    def permit(self, action: Action, state: MicroscopeState, left: Budget, area: AreaDose | None = None) -> Cost:
        """Return what the action will cost, if it may be done from this state with what is left to spend.

        Blanking the beam and closing the valves are always permitted where the instrument can do it. ``area`` knows
        what every place has received, where the run has a dose for every area.

        Raises
        ------
        Unsupported
            The instrument has no such action, detector, signal, slot or stimulus.
        LimitExceeded
            A value, the path of the stage, or the field of a scan leaves what is permitted, or time, steps or data
            run out.
        DoseExceeded
            The fluence, the electrons left or the dose of an area would be exceeded.
        """
        if action.kind not in self._capabilities.actions:
            raise self._unsupported("action", action.kind, self._capabilities.actions, action)
        if (isinstance(action, Blank) and action.blanked) or (isinstance(action, SetValves) and not action.valves_open):
            return Cost()
        self._check_values(action, state)
        cost = self._cost(action, state)
        if isinstance(action, (Scan, SpectrumImage, Measure)):
            self._check_names(action)
            if dark_frames(action):
                self._check_dark(action)
            else:
                self._check_current(action, state)
                self._check_fluence(action, state, cost)
        _check_budget(action, cost, left)
        if area is not None and not dark_frames(action):
            area.permit(action, state, cost)
        return cost

    def check(self, frame: Frame, action: Action) -> dict[str, float]:
        """Return the quality of a frame that the action recorded, if it is fit to learn from.

        Returns
        -------
        dict of str to float
            ``mean``, ``std``, ``saturated_fraction``, ``zero_fraction``, ``snr_estimate`` (see
            `autoscope.guard.quality`).

        Raises
        ------
        FrameRejected
            Not of the action's signals or shape, not numbers, NaN or infinite, negative or saturated counts,
            or an image in which nothing varies.
        """
        quality.require_form(frame, action, self._capabilities)
        is_image = not isinstance(action, Measure) and frame.data.ndim == 2 and not dark_frames(action)
        return quality.measure(frame, self._saturated_fraction, is_image=is_image)

    def cost(self, action: Action, state: MicroscopeState) -> Cost:
        """Return what an action will cost from a state; see `autoscope.exposure.predict`.

        Both are frozen, so the last answer holds as long as the same two are asked about: once when an act is written
        down, once when it is permitted.
        """
        known = self._predicted  # read once: two threads may ask
        if known is None or known[0] is not action or known[1] is not state:
            known = self._predicted = action, state, predict(action, state, self._capabilities)
        return known[2]

    def _cost(self, action: Action, state: MicroscopeState) -> Cost:
        asked = action.beam_current_a if isinstance(action, SetOptics) else None
        current_a = max(state.beam_current_a, asked or 0.0)
        try:
            cost = self.cost(action, state)
            # an unblanked beam rests on the sample all the time the act takes
            unexposed = state.blanked or dark_frames(action)
            return cost if unexposed else cost.replace(dose_e=max(cost.dose_e, electrons(current_a, cost.time_s)))
        except (ArithmeticError, ValidationError) as error:
            remedy = "Choose values that an instrument can have"
            raise LimitExceeded("the cost of this act is beyond numbers", where=action.kind, remedy=remedy) from error

    def _check_values(self, action: Action, state: MicroscopeState) -> None:
        match action:
            case MoveStage():
                self._check_path(action, state)
            case SetOptics():
                self._check_corrector(action)
                self._check_fields(action, OPTICS_FIELDS)
            case Scan() | SpectrumImage():
                self._check_fields(
                    action, ("fov_m", "width_px", "height_px", "dwell_s", "centre_x_m", "centre_y_m", "rotation_rad")
                )
                self._check_field(action, corners(action))
            case Measure():
                self._check_fields(action, ("dwell_s",))
                self._check_field(action, [(action.x_m, action.y_m)])
            case SetStimulus():
                self._check_stimulus(action)
            case LoadSample():
                if not 0 <= action.slot < self._capabilities.slots:
                    raise self._unsupported("slot", action.slot, range(self._capabilities.slots), action)
            case Wait():
                self._check_fields(action, ("duration_s",))
            case Blank() | SetValves():
                self._check_current(action, state)
            case _:
                assert_never(action)  # a kind of action that nobody taught the guard goes nowhere

    def _check_path(self, action: MoveStage, state: MicroscopeState) -> None:
        for axis, passed in path(action, state).items():
            interval = self.ranges.get(axis, EVERYTHING)
            play = self._capabilities.tolerances.get(axis, 0.0)  # a read-back at the edge may lie beyond it by this
            start, asked = getattr(state, axis), getattr(action, axis)
            if asked is not None:
                require(action.kind, axis, asked, interval, "Choose a target inside the limits")
            low, high = interval.low - play, interval.high + play
            if not (low <= passed.low and passed.high <= high):
                raise LimitExceeded(
                    f"the stage is outside what is permitted in {axis}, so no path from here is inside",
                    where=action.kind,
                    value=start,
                    limit=f"[{interval.low:g}, {interval.high:g}]",
                    remedy="Bring the stage back by hand, or correct the limits",
                )

    def _check_fields(self, action: Action, names: tuple[str, ...]) -> None:
        for name in names:
            value = getattr(action, name)
            if value is not None:
                require(action.kind, name, value, self.ranges.get(name, EVERYTHING), "Choose a value inside the range")
                require_choice(action.kind, name, value, self._capabilities)

    def _check_field(self, action: Action, points: list[tuple[float, float]]) -> None:
        for point in points:
            for axis, value in zip(("x_m", "y_m"), point):
                remedy = "Move the stage instead, or take a smaller field"
                require(action.kind, f"field {axis}", value, self._field[axis], remedy)

    def _check_stimulus(self, action: SetStimulus) -> None:
        for name in ("temperature_k", "bias_v"):
            if getattr(action, name) is not None and name not in self.ranges:
                known = [n for n in ("temperature_k", "bias_v") if n in self.ranges]
                raise self._unsupported("stimulus", name, known, action)
        self._check_fields(action, ("temperature_k", "bias_v"))

    def _check_corrector(self, action: SetOptics) -> None:
        for name in CORRECTOR_FIELDS:
            if getattr(action, name) is not None and name not in self.ranges:
                known = [n for n in CORRECTOR_FIELDS if n in self.ranges]
                raise self._unsupported("aberration of a corrector", name, known, action)

    def _check_names(self, action: Scan | SpectrumImage | Measure) -> None:
        detectors = action.detectors
        signals = () if isinstance(action, Scan) else action.signals
        known = self._signals
        for name in detectors:
            if name not in self._capabilities.detectors:
                raise self._unsupported("detector", name, self._capabilities.detectors, action)
        if isinstance(action, Measure) and detectors and not self._capabilities.point_readings:
            raise self._unsupported("image detector at a point", detectors[0], (), action)
        for name in signals:
            if name not in known:
                raise self._unsupported("signal", name, known, action)
        if not detectors and not signals:
            choices = (*self._capabilities.detectors, *known)
            raise self._unsupported("exposure", "without detector or signal", choices, action)

    def _check_dark(self, action: Action) -> None:
        if not self._capabilities.dark:
            raise Unsupported(
                f"the instrument {self._capabilities.instrument!r} cannot keep the beam away while it records",
                where=f"{action.kind}.dark_frames",
                value=dark_frames(action),
                remedy="Leave dark references out",
            )

    def _check_current(self, action: Action, state: MicroscopeState) -> None:
        interval = self.ranges.get("beam_current_a", EVERYTHING)
        play = self._capabilities.tolerances.get("beam_current_a", 0.0)
        if state.beam_current_a > interval.high + play:  # too little current harms nothing
            raise LimitExceeded(
                "the beam current is above what is permitted",
                where=action.kind,
                value=state.beam_current_a,
                limit=f"{interval.high:g} A",
                remedy="Lower the current with set_optics first",
            )

    def _check_fluence(self, action: Scan | SpectrumImage | Measure, state: MicroscopeState, cost: Cost) -> None:
        limit = self._limits.max_dose_e_per_m2
        if limit is None:
            return
        fluence = self._parked_e_per_m2(action, state) if isinstance(action, Measure) else cost.dose_e_per_m2
        if not fluence <= limit:
            raise DoseExceeded(
                "a place would receive more fluence than permitted in one act",
                where=action.kind,
                value=fluence,
                limit=f"{limit:g} e/m2",
                remedy="Take a shorter dwell, larger pixels or less current",
            )

    def _parked_e_per_m2(self, action: Measure, state: MicroscopeState) -> float:
        """Return the highest fluence a parked probe can give: all electrons in the smallest probe optics allow."""
        dose_e = electrons(state.beam_current_a, action.dwell_s)
        if dose_e == 0.0:
            return 0.0
        if state.convergence_rad == 0.0:
            raise DoseExceeded(
                "the fluence of a parked probe cannot be bounded, because the instrument tells no convergence angle",
                where=action.kind,
                limit=f"{self._limits.max_dose_e_per_m2:g} e/m2",
                remedy="Remove max_dose from the limits, or take spectrum images instead",
            )
        voltage_v = state.voltage_v or self._capabilities.voltage_v
        return dose_e / probe_area_m2(state.convergence_rad, voltage_v, state.defocus_m)

    def _reach(self, axis: str) -> Range:
        """Return where the beam can be deflected to: offsets declared by centre, field or native scan together."""
        ends: list[float] = []
        if (centre := self.ranges.get(f"centre_{axis}")) is not None:
            ends += [centre.low, centre.high]
        if (fov := self.ranges.get("fov_m")) is not None:
            ends += [-fov.high / 2, fov.high / 2]
        if self._capabilities.native_scan:
            ends += [corner[axis == "y_m"] for corner in corners(self._capabilities.native_scan)]
        if not ends:
            return EVERYTHING
        dust_m = _DUST * (max(ends) - min(ends))
        return Range(low=min(ends) - dust_m, high=max(ends) + dust_m)

    def _unsupported(self, what: str, value: object, known: Iterable[object], action: Action) -> Unsupported:
        return Unsupported(
            f"the instrument {self._capabilities.instrument!r} has no such {what}",
            where=action.kind,
            value=value,
            limit=", ".join(str(k) for k in known) or "none",
            remedy="Choose one that it has",
        )


def _check_budget(action: Action, cost: Cost, left: Budget) -> None:
    remedy = "End the run, or raise its budget"
    if left.steps is not None and left.steps < 1:
        raise LimitExceeded("no steps are left", where=action.kind, value=left.steps, limit=1, remedy=remedy)
    if left.time_s is not None and cost.time_s > 0.0 and not cost.time_s <= left.time_s:
        what = "the act would take longer than the time left"
        raise LimitExceeded(what, where=action.kind, value=cost.time_s, limit=f"{left.time_s:g} s", remedy=remedy)
    if left.dose_e is not None and cost.dose_e > 0.0 and not cost.dose_e <= left.dose_e:
        what = "the act would put more electrons on the sample than are left"
        raise DoseExceeded(what, where=action.kind, value=cost.dose_e, limit=f"{left.dose_e:g} e", remedy=remedy)
    if left.bytes is not None and cost.bytes > left.bytes:
        what = "the act would record more data than is left of the budget"
        raise LimitExceeded(what, where=action.kind, value=cost.bytes, limit=f"{left.bytes} bytes", remedy=remedy)
