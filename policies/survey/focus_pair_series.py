"""Focus and stigmation from two images: one below and one above the focus that the height map foretells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscope.errors import FrameRejected
from autoscope.perception.aberrations import Look, estimate, polar_power
from autoscope.perception.focus_pair import estimate_pair
from autoscope.perception.regions import pixel_size_m
from autoscope.protocols import JsonValue
from autoscope.records import Frame, MicroscopeState
from policies.align_search import packed, unpacked

TRUSTED = 0.1
"""A pair is believed if it is surer than this part of its distance from the centre."""


@dataclass(frozen=True)
class Found:
    """What a pair says: the setting in focus, how surely, and whether to believe it; astigmatism of the lens as set."""

    defocus_m: float
    std_m: float
    trusted: bool
    stigmators_m: tuple[float, float]
    """Settings of the stigmators without astigmatism."""
    astigmatism_m: float
    astigmatism_std_m: float


@dataclass(frozen=True)
class _Taken:
    setting_m: tuple[float, float, float]
    pixel_m: float
    convergence_rad: float
    image: str


class FocusPairSeries:
    """Takes two images of one field and judges them together; a fold over the images.

    Parameters
    ----------
    centre_m : float
        Focus expected.
    span_m : float
        The images lie so far below and above it.
    prior_m : float
        How surely the focus is expected there (standard deviation).
    stigmator_m : float
        Astigmatism expected (standard deviation).
    """

    def __init__(self, centre_m: float, span_m: float, prior_m: float, stigmator_m: float) -> None:
        self.centre_m, self.span_m = centre_m, span_m
        self._prior_m, self._stigmator_m = prior_m, stigmator_m
        self._taken: list[_Taken] = []

    def next_defocus_m(self) -> float | None:
        """Return the defocus of the next image, or None when both are taken."""
        return (self.centre_m - self.span_m, self.centre_m + self.span_m, None)[min(len(self._taken), 2)]

    def tell(self, frame: Frame, state: MicroscopeState) -> None:
        """Learn an image, and the state of the instrument it was taken in."""
        setting_m = (state.defocus_m, state.stigmator_a_m, state.stigmator_b_m)
        self._taken.append(_Taken(setting_m, pixel_size_m(frame), state.convergence_rad, packed(frame.data)))

    def best(self) -> Found:
        """Return what the pair says; not to be trusted where the field shows nothing."""
        a_m, b_m = self._taken[-1].setting_m[1:]
        nothing = Found(self.centre_m, self.span_m, False, (a_m, b_m), 0.0, math.inf)
        if self._taken[0].convergence_rad <= 0.0:
            return nothing
        try:
            offset_m, covariance = self._estimated()
        except (FrameRejected, np.linalg.LinAlgError):
            return nothing
        std_m = math.sqrt(max(float(covariance[0, 0]), 0.0))
        astigmatism_m = float(np.hypot(offset_m[1] + a_m, offset_m[2] + b_m))
        spread_m = math.sqrt(max(float(covariance[1, 1] + covariance[2, 2]), 0.0))
        focus_m = -float(offset_m[0])
        near = abs(focus_m - self.centre_m) < 2.0 * self.span_m
        trusted = std_m < TRUSTED * self.span_m and near
        stigmators_m = (-float(offset_m[1]), -float(offset_m[2]))
        return Found(focus_m, std_m, trusted, stigmators_m, astigmatism_m, spread_m)

    def _estimated(self) -> tuple[Any, Any]:
        one, two = self._taken
        images = unpacked(one.image), unpacked(two.image)
        settings = [one.setting_m, two.setting_m]
        centre = [-self.centre_m, -one.setting_m[1], -one.setting_m[2]]
        prior = [self._prior_m, self._stigmator_m, self._stigmator_m]
        shape = (images[0].shape[0], images[0].shape[1])
        looks = [Look(s, (0.0,), one.pixel_m, shape, polar_power(i)) for s, i in zip(settings, images, strict=True)]
        near = estimate(looks, one.convergence_rad, centre, prior)
        around = [3.0 * math.sqrt(max(float(v), 0.0)) for v in np.diag(near.covariance_m2)]
        start = [float(v) for v in near.offset_m]
        found = estimate_pair(images, settings, one.pixel_m, one.convergence_rad, start, around)
        return found.offset_m, found.covariance_m2

    def state(self) -> dict[str, JsonValue]:
        """Return what was taken as plain data."""
        return {
            "centre_m": self.centre_m,
            "span_m": self.span_m,
            "prior_m": self._prior_m,
            "stigmator_m": self._stigmator_m,
            "taken": [[list(t.setting_m), t.pixel_m, t.convergence_rad, t.image] for t in self._taken],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> FocusPairSeries:
        """Return a series as `state` told it."""
        series = cls(*(float(state[name]) for name in ("centre_m", "span_m", "prior_m", "stigmator_m")))
        series._taken = [_Taken((s[0], s[1], s[2]), p, c, image) for s, p, c, image in state["taken"]]
        return series
