"""The acts the imaging policy chooses from, and how they are said and digested."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.exposure_choice import Exposure
from autoscope.exposure import electrons, predict
from autoscope.records import Decision, Result, Scan, SetOptics, SpectrumImage, View, Wait

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """What could be done now: exposures (k,), their costs, and per place and exposure what is foreseen (m, k)."""

    exposures: tuple[Exposure, ...]
    cost: Array
    useful_e: Array
    allowed: NDArray[np.bool_]


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


def is_set(current_a: float, view: View) -> bool:
    """Return whether a beam current is set, or will be when everything pending is done."""
    coming = [a.beam_current_a for a in view.pending if isinstance(a, SetOptics) and a.beam_current_a is not None]
    return math.isclose(current_a, coming[-1] if coming else view.state.beam_current_a, rel_tol=1e-6)


def say(exposure: Exposure) -> str:
    """Return an exposure for people."""
    return f"{exposure.dwell_s * 1e3:.3g} ms at {exposure.current_a * 1e12:.3g} pA"


def sha256(*parts: bytes) -> str:
    """Return the digest of some bytes in a row."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
