"""The acts the imaging policy chooses from, what each costs, and how a choice is written down."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.exposure_choice import Exposure, ladder
from autoscope.exposure import electrons, predict
from autoscope.records import (
    Action,
    Candidate,
    Capabilities,
    Decision,
    Finish,
    Measure,
    Result,
    Scan,
    SetOptics,
    SpectrumImage,
    View,
    Wait,
)
from policies.field import all_signals
from policies.imaging_config import ImagingConfig
from policies.imaging_worth import Foreseen, Worth
from policies.pixels import Indices, PixelGrid

Array = NDArray[np.float64]
Look = tuple[int, int]
"""Number of a candidate, number of an exposure."""


@dataclass(frozen=True)
class Options:
    """What could be done now: exposures (k,), their costs, and per place and exposure what is foreseen (m, k)."""

    exposures: tuple[Exposure, ...]
    blurs: tuple[int, ...]
    cost: Array
    useful_e: Array
    allowed: NDArray[np.bool_]
    sent: bool = False
    """Whether only places are left open that somebody sent it to."""


@dataclass(frozen=True)
class Optics:
    """Focus of the overview, and the semi-angle that says how wide a probe out of it is."""

    focus_m: float = 0.0
    convergence_rad: float = 0.0

    def setting(self, exposure: Exposure, view: View) -> SetOptics | None:
        """Return what must be set before a look of that exposure, or None where all is set or will be."""
        state = view.state
        current_a, defocus_m = state.beam_current_a, state.defocus_m
        for act in view.pending:
            if isinstance(act, SetOptics):
                current_a = current_a if act.beam_current_a is None else act.beam_current_a
                defocus_m = defocus_m if act.defocus_m is None else act.defocus_m
        wanted_m = self.focus_m + exposure.defocus_m
        current = None if math.isclose(current_a, exposure.current_a, rel_tol=1e-6) else exposure.current_a
        defocus = None if math.isclose(defocus_m, wanted_m, rel_tol=1e-6, abs_tol=1e-10) else wanted_m
        if current is None and defocus is None:
            return None
        return SetOptics(beam_current_a=current, defocus_m=defocus)

    def blur(self, defocus_m: float, blurs_m: tuple[float, ...]) -> int:
        """Return which defocus is nearest to one read back."""
        return int(np.argmin([abs(defocus_m - self.focus_m - b) for b in blurs_m]))


def field_act(action: Scan | SpectrumImage, purpose: str, reason: str, view: View) -> Decision:
    """Return an act over the whole field, or a wait while one is pending."""
    if any(isinstance(pending, type(action)) for pending in view.pending):
        duration_s = predict(action, view.state, view.capabilities).time_s
        return Decision(action=Wait(duration_s=duration_s), purpose="wait", reason=f"The {purpose} is being taken.")
    return Decision(action=action, purpose=purpose, reason=reason, target="field of view")


def fluence_of(action: Scan, result: Result) -> float:
    """Return the fluence a raster put on its field."""
    each = electrons(result.outcome.state.beam_current_a, action.dwell_s)
    return each / (action.fov_m / action.width_px) ** 2


def reached(result: Result) -> bool:
    """Return whether electrons of an act reached the specimen, whatever became of its data."""
    return result.outcome.status == "done" or result.outcome.dose_e > 0.0


def foretold_z(decision: Decision, value: float) -> float | None:
    """Return how wrong the model was about a look, in its own standard deviations, before any widening."""
    noise, fit = decision.acquisition_parameters.get("predicted_noise_std"), decision.fit
    if decision.predicted_mean is None or decision.predicted_std is None or noise is None or fit is None:
        return None
    spread = math.hypot(decision.predicted_std / fit.hyperparameters.get("widening", 1.0), noise)
    return (value - decision.predicted_mean) / spread if spread > 0.0 else None


def say(exposure: Exposure) -> str:
    """Return an exposure for people."""
    focus = f", {exposure.defocus_m * 1e6:.3g} um out of focus" if exposure.defocus_m else ""
    side = exposure.binning
    patch = f", summed over {side} x {side} pixels" if side > 1 else ""
    return f"{exposure.dwell_s * 1e3:.3g} ms at {exposure.current_a * 1e12:.3g} pA{focus}{patch}"


def exposures_now(config: ImagingConfig, view: View) -> tuple[Exposure, ...]:
    """Return what may be chosen from: every exposure wanted whose dwell time at a pixel the instrument takes.

    A dwell time that somebody ordered replaces those configured, unless the instrument does not take it.
    """
    ordered = view.wishes.dwell_s
    return (_exposures((ordered,), config, view) if ordered else ()) or _exposures(config.dwells_s, config, view)


def _exposures(dwells_s: tuple[float, ...], config: ImagingConfig, view: View) -> tuple[Exposure, ...]:
    can, currents = view.capabilities, config.currents_a or (view.state.beam_current_a,)
    sums = "spectrum_image" in can.actions
    every = ladder(dwells_s, currents, config.defoci_m, config.binnings if sums else (1,))
    allowed, among = can.ranges.get("dwell_s"), can.choices.get("dwell_s")

    def fits(exposure: Exposure) -> bool:
        dwell_s = exposure.dwell_s / exposure.binning**2
        in_range = allowed is None or dwell_s in allowed
        return in_range and (among is None or any(math.isclose(dwell_s, one, rel_tol=1e-9) for one in among))

    return tuple(exposure for exposure in every if fits(exposure))


def carried_out(decision: Decision | Finish, options: Options, view: View) -> Decision | Finish:
    """Return a decision that names the order it carries out, if it is the look that somebody sent it to."""
    if isinstance(decision, Finish) or not options.sent or isinstance(decision.action, SetOptics):
        return decision
    return decision.replace(order=view.wishes.sent)


def why_nothing(options: Options, dwells_s: tuple[float, ...], can: Capabilities) -> str:
    """Return why no look is possible: all is measured, or no dwell time wanted is one that the instrument takes."""
    if options.exposures:
        return "Every candidate has received all the dose it may, is excluded, being measured or was given up."
    among, allowed = can.choices.get("dwell_s"), can.ranges.get("dwell_s")
    wanted = ", ".join(f"{dwell_s:.3g} s" for dwell_s in dwells_s)
    takes = ", ".join(f"{dwell_s:.3g} s" for dwell_s in among) if among else ""
    takes = takes or (f"{allowed.low:.3g} s to {allowed.high:.3g} s" if allowed else "none")
    return f"The instrument takes no look with a dwell of {wanted}; it takes {takes}: set policy.options.dwells."


def look_act(exposure: Exposure, grid: PixelGrid, pixel: int, signals: tuple[str, ...]) -> Measure | SpectrumImage:
    """Return the act of a look at a pixel: a parked probe, or a spectrum image of the square around it."""
    (x_m, y_m), side = grid.position(pixel), exposure.binning
    if side == 1:
        return Measure(x_m=x_m, y_m=y_m, dwell_s=exposure.dwell_s, signals=signals)
    return SpectrumImage(
        fov_m=side * grid.scan.fov_m / grid.scan.width_px,
        width_px=side,
        height_px=side,
        dwell_s=exposure.dwell_s / side**2,
        centre_x_m=x_m,
        centre_y_m=y_m,
        signals=signals,
        detectors=(),  # an image is not wanted, and its detector may be saturated by the dwell of a spectrum
    )


def look_time_s(exposure: Exposure, grid: PixelGrid, view: View, signals: tuple[str, ...]) -> float:
    """Return how long a look takes, without travel and settling."""
    if exposure.binning == 1:
        return exposure.dwell_s + view.capabilities.timing.point_overhead_s
    action = look_act(exposure, grid, grid.size // 2, all_signals(signals, view.capabilities))
    return predict(action, view.state, view.capabilities).time_s


def looked_at(action: Action, grid: PixelGrid) -> int | None:
    """Return the pixel in the middle of a look, or None where the act is none or lies outside."""
    if isinstance(action, Measure):
        return grid.pixel_at(action.x_m, action.y_m)
    if isinstance(action, SpectrumImage) and action.width_px == action.height_px:
        return grid.pixel_at(action.centre_x_m, action.centre_y_m)
    return None


def sha256(*parts: bytes) -> str:
    """Return the digest of some bytes in a row."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


class Writer:
    """Writes down which look was chosen among which options, with what it is expected to show.

    Predictions are in the unit of the spectrum's value, for the exposure of the look.
    """

    def __init__(
        self, config: ImagingConfig, grid: PixelGrid, candidates: Indices, options: Options, optics: Optics
    ) -> None:
        self._config, self._grid, self._candidates = config, grid, candidates
        self._options, self._optics = options, optics

    def start(self, look: Look, reason: str, view: View, evidence: Mapping[str, object]) -> Decision:
        """Return a decision made before there is a model."""
        return self._decision(look, view, {"reason": reason, "acquisition": "diverse"} | dict(evidence), {})

    def modelled(
        self,
        look: Look,
        others: list[Look],
        worth: Worth,
        foreseen: Foreseen,
        view: View,
        evidence: Mapping[str, object],
    ) -> Decision:
        """Return a decision of the model, with the runners-up."""

        def candidate(one: Look) -> Candidate:
            scale, value = self._scale(one), float(worth.values[one] / self._options.cost[one[1]])
            mean, std = scale * float(foreseen.mean[one]), scale * float(foreseen.std[one])
            return Candidate(action=self._measure(one, view), mean=mean, std=std, value=value)

        best, *rest = (candidate(one) for one in (look, *others))
        fields = {
            "reason": f"Of all looks this one, {say(self._options.exposures[look[1]])}, {worth.reason}.",
            "predicted_mean": best.mean,
            "predicted_std": best.std,
            "acquisition": f"{worth.name}_per_{self._config.per}",
            "acquisition_value": best.value,
            "runners_up": tuple(rest),
        }
        noise = {"predicted_noise_std": self._scale(look) * math.sqrt(float(foreseen.noise[look]))}
        return self._decision(look, view, fields | dict(evidence), noise)

    def _scale(self, look: Look) -> float:
        return float(self._options.useful_e[look]) if self._config.scaling == "counts" else 1.0

    def _measure(self, look: Look, view: View) -> Measure | SpectrumImage:
        signals = all_signals(self._config.signals, view.capabilities)
        return look_act(self._options.exposures[look[1]], self._grid, int(self._candidates[look[0]]), signals)

    def _decision(self, look: Look, view: View, fields: dict[str, object], more: dict[str, float]) -> Decision:
        exposure, options = self._options.exposures[look[1]], self._options
        setting = self._optics.setting(exposure, view)
        action: Action = self._measure(look, view) if setting is None else setting
        if setting is not None:
            fields["reason"] = f"Sets the beam for the next look. {fields['reason']}"
        parameters = {"dwell_s": exposure.dwell_s, "beam_current_a": exposure.current_a, "dose_e": exposure.dose_e}
        parameters |= {"defocus_m": exposure.defocus_m, "useful_e": float(options.useful_e[look])} | more
        if exposure.binning > 1:
            parameters["binning"] = float(exposure.binning)
        places, allowed = self._candidates.astype("<i8").tobytes(), np.packbits(options.allowed).tobytes()
        return Decision.model_validate(
            {
                "action": action,
                "purpose": "spectrum" if setting is None else "optics",
                "target": self._grid.name(int(self._candidates[look[0]])),
                "acquisition_parameters": parameters,
                "candidates": int(options.allowed.any(axis=1).sum()),
                "candidates_sha256": sha256(places, allowed),
            }
            | fields
        )


def refocus(focus_m: float, view: View) -> Decision | None:
    """Return the decision that brings the overview's focus back, or None where it is there or will be."""
    found = Optics(focus_m).setting(Exposure(1.0, view.state.beam_current_a), view)
    if found is None or found.defocus_m is None:
        return None
    reason = "The run is over: the focus of the overview is set again."
    return Decision(action=SetOptics(defocus_m=focus_m), purpose="optics", reason=reason)
