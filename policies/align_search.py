"""Which image tells most about focus and stigmation: pairs through focus, ever closer."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.ndimage import gaussian_filter

from autoscope.config import ConfigModel
from autoscope.perception.aberrations import Aberrations, Look, estimate, polar_power
from autoscope.perception.focus_pair import estimate_pair
from autoscope.perception.sharpness import sharpness
from autoscope.quantities import Angle, PositiveDuration, PositiveLength
from autoscope.records import (
    Frame,
    MicroscopeState,
    Scan,
)

Array = NDArray[np.float64]
Setting = tuple[float, float, float]

BLOCKS = 32
"""Structure is remembered on a map of this many blocks a side, to choose where the next, smaller field lies."""
APART = 4.0
"""Half the distance of a pair over the uncertainty it starts from."""
LEAST = 0.04
"""The same over the half distance of the pair before, at least."""
DOUBT = 3.0
"""True over stated uncertainty, at most, of what the power spectra of a pair say."""
HEIGHT_M = 10e-9
"""By how much the specimen may be higher or lower in a smaller field, a standard deviation."""
SURPRISE = 8.0
"""Mean squared difference of two pairs, in their uncertainties, above which one of them is wrong: one true pair of
forty thousand is as far off."""
NEAR = 2.0
"""A pair is told together with the one before if that was at most so many times ``finest`` apart."""
ENOUGH_M = 1e-9
"""No further pair is taken once the closest said it all within this."""


class AlignConfig(ConfigModel):
    """How images are taken, how far off the start may be, and how many images there may be."""

    size_px: int = Field(default=512, ge=64)
    dwell_s: PositiveDuration = 2e-6
    detector: str = "HAADF"
    fov_m: PositiveLength = 1e-6
    """The first images: wide enough for the widest probe, ``span`` times the convergence angle, to be small in it."""
    finest_fov_m: PositiveLength = 64e-9
    """The last images: its pixels should be no wider than the best probe a few times over."""
    span_m: PositiveLength = 1e-6
    """Defocus is within this of the start; the first two images lie this far below and above it."""
    stigmator_span_m: PositiveLength = 1e-6
    """Each astigmatism is within about this of the start."""
    finest_m: PositiveLength = 30e-9
    """The closest pair: less than this below and above focus hardly widens the probe."""
    blur_px: float = Field(default=2.5, gt=0.5)
    """Standard deviation of the probe, in pixels, that the defocus of a pair makes: it decides the field of view."""
    convergence_rad: Angle = 25e-3
    """Taken where the instrument does not read its convergence angle back."""
    max_images: int = Field(default=8, ge=4)
    """At most this many; they are taken in pairs, so an odd one is left over."""

    @model_validator(mode="after")
    def _shrinks(self) -> AlignConfig:
        if self.finest_fov_m > self.fov_m or self.finest_m > self.span_m:
            raise ValueError("the finest field and pair must not be wider than the first")
        return self


@dataclass(frozen=True)
class Taken:
    """What is kept of one image."""

    setting_m: Setting
    fov_m: float
    centre_m: tuple[float, float]
    sharpness: float
    convergence_rad: float
    interest: tuple[float, ...]
    """Structure of each of `BLOCKS` squared blocks, row by row."""
    image: str = ""
    """The image itself (`packed`), kept until its pair is complete."""
    result: tuple[float, ...] = ()
    """In the second of a pair, what the pair says: offset, covariance, width factor, misfit."""

    @property
    def found(self) -> Aberrations:
        """Return what a complete pair says."""
        values = np.array(self.result)
        return Aberrations(values[:3], values[3:12].reshape(3, 3), float(values[12]), float(values[13]))

    @property
    def field(self) -> tuple[float, float, float]:
        """Return what identifies the field."""
        return (self.fov_m, *self.centre_m)


@dataclass(frozen=True)
class Plan:
    """The next image, or the last setting; and why."""

    setting_m: Setting
    fov_m: float = 0.0
    centre_m: tuple[float, float] = (0.0, 0.0)
    reason: str = ""
    found: Aberrations | None = None
    final: str = ""
    """The word at the end, where no further image is worth it."""


class AlignSearch:
    """Chooses images from those taken so far: a pure function of them.

    Parameters
    ----------
    config : AlignConfig
    start_m : (float, float, float)
        Defocus and stigmators at the beginning.
    """

    def __init__(self, config: AlignConfig, start_m: Setting) -> None:
        self.config, self.start_m = config, start_m
        self.taken: list[Taken] = []

    def add(self, taken: Taken) -> None:
        """Take up an image; two of them are a pair, which is judged at once, and only what it says is kept."""
        self.taken.append(taken)
        if len(self.taken) % 2 == 0:
            number = len(self.taken) // 2 - 1
            found = self._judged(number)
            values = [*found.offset_m, *found.covariance_m2.ravel(), found.width_factor, found.misfit]
            first, second = self.taken[-2:]
            self.taken[-2:] = [replace(first, image=""), replace(second, image="", result=tuple(map(float, values)))]

    def plan(self, affordable: bool = True) -> Plan:
        """Return the next image, or the last setting where enough is known or no further image can be paid for."""
        count, config = len(self.taken), self.config
        if count >= 2 and not any(t.sharpness > 0.0 for t in self.taken):
            return self._without_structure(count, affordable)
        if not affordable or count >= config.max_images:
            return self._last("no more images are allowed" if count >= config.max_images else "the budget is spent")
        if count < 2:
            side = 1 - 2 * (count % 2)
            reason = f"{'above' if side > 0 else 'below'} the start by {in_nm(config.span_m)}: a pair tells all three"
            return Plan(self._shifted(self.start_m, side * config.span_m), config.fov_m, reason=reason)
        return self._closer()

    def _without_structure(self, count: int, affordable: bool) -> Plan:
        if count == 2 and affordable:
            return Plan(self.start_m, self.config.fov_m, reason="neither image shows structure: look at the start")
        return Plan(self.start_m, final="the field shows no structure to focus on; the start was set again")

    def _closer(self) -> Plan:
        count = len(self.taken)
        found = self.found()
        if count % 2:
            centre, radius_m = self._stage(count // 2)
            taken = self.taken[-1]
            reason = f"{self._said(found)}: now {in_nm(radius_m)} to the other side of that"
            return Plan(self._shifted(centre, -radius_m), taken.fov_m, taken.centre_m, reason, found)
        close = self._stage(count // 2 - 1)[1] <= self.config.finest_m * 1.001
        if close and found.std_m <= ENOUGH_M:
            return self._last("as close as is useful")
        if count + 2 > self.config.max_images:
            return self._last("no more images are allowed")
        centre, radius_m = self._stage(count // 2)
        fov_m, centre_m = self._field(radius_m)
        reason = f"{self._said(found)}: {in_nm(radius_m)} to each side of that tells most, at {in_nm(fov_m)} field"
        return Plan(self._shifted(centre, radius_m), fov_m, centre_m, reason, found)

    def _last(self, why: str) -> Plan:
        if len(self.taken) < 2:
            return Plan(self.start_m, final=f"{why} before a pair of images; the start was set again")
        found = self.found()
        return Plan(self._focus(found), found=found, final=f"{why}: {self._said(found)}")

    # --- what is known ---------------------------------------------------------------------------

    def found(self, images: int | None = None) -> Aberrations:
        """Return what is known after some images (all): what the last complete pair said."""
        last = max((len(self.taken) if images is None else images) // 2 - 1, 0)
        return self.taken[2 * last + 1].found

    def _judged(self, number: int) -> Aberrations:
        """Return what is known with a pair: where its power spectra point to, then by matching the images themselves.

        The pair is judged alone, and then held against what was known before (`_reconciled`): astigmatism is the lens's
        own in every field, but the specimen may be higher or lower in another.
        """
        config, pair = self.config, self.taken[2 * number : 2 * number + 2]
        centre, radius_m = self._stage(number)
        settings, alpha = [t.setting_m for t in pair], pair[0].convergence_rad
        images, pixel_m = (unpacked(pair[0].image), unpacked(pair[1].image)), pair[0].fov_m / config.size_px
        std_m = [radius_m] * 3 if number else [config.span_m] + [config.stigmator_span_m] * 2
        spectra, shape = [polar_power(image) for image in images], (config.size_px, config.size_px)
        looks = [Look(t.setting_m, t.field, pixel_m, shape, s) for t, s in zip(pair, spectra, strict=True)]
        near = estimate(looks, alpha, [-s for s in centre], std_m)
        around = [DOUBT * math.sqrt(v) for v in np.diag(near.covariance_m2)]
        found = estimate_pair(images, settings, pixel_m, alpha, [float(o) for o in near.offset_m], around)
        if not number:
            return found
        before_m = self._stage(number - 1)[1]
        height_m = 0.0 if before_m <= config.finest_m * 1.001 else HEIGHT_M
        return _reconciled(self.found(2 * number), found, height_m, together=before_m <= NEAR * config.finest_m)

    def _stage(self, number: int) -> tuple[Setting, float]:
        """Return the middle of a pair, and how far to each side its images lie."""
        if number == 0:
            return self.start_m, self.config.span_m
        found, before_m = self.found(2 * number), self._stage(number - 1)[1]
        radius_m = min(max(APART * found.std_m, LEAST * before_m), before_m / 2.0)
        return self._focus(found), max(self.config.finest_m, radius_m)

    def _field(self, radius_m: float) -> tuple[float, tuple[float, float]]:
        """Return size and centre of the field whose pixels suit a pair of that distance."""
        config = self.config
        pixel_m = self.taken[0].convergence_rad / 2.0 * radius_m / config.blur_px
        latest = max(self.taken[-2:], key=lambda t: t.sharpness)
        if latest.sharpness == 0.0:  # nothing in the small field: a wider one, where there was something
            widest = max(self.taken, key=lambda t: (t.sharpness > 0.0, t.fov_m))
            return min(2.0 * latest.fov_m, config.fov_m), widest.centre_m
        fov_m = min(max(config.size_px * pixel_m, config.finest_fov_m), latest.fov_m)
        if fov_m > 0.8 * latest.fov_m:
            return latest.fov_m, latest.centre_m
        return fov_m, _place(latest, fov_m)

    # --- words and numbers -------------------------------------------------------------------------

    def _focus(self, found: Aberrations) -> Setting:
        d, a, b = (-float(o) for o in found.offset_m)
        return d, a, b

    def _shifted(self, setting_m: Setting, defocus_m: float) -> Setting:
        return setting_m[0] + defocus_m, setting_m[1], setting_m[2]

    def _said(self, found: Aberrations) -> str:
        """Return what is known in words."""
        d, a, b = found.offset_m + np.array(self.start_m)
        std_m = np.sqrt(np.diag(found.covariance_m2))
        blur = f"astigmatism {in_nm(math.hypot(a, b))} +- {in_nm(math.hypot(std_m[1], std_m[2]))}"
        return f"the start was out of focus by {d * 1e9:+.3g} +- {in_nm(float(std_m[0]))}, {blur}"


def _reconciled(before: Aberrations, found: Aberrations, height_m: float, *, together: bool) -> Aberrations:
    """Return what is known with a further pair whose field may lie ``height_m`` (std) higher or lower.

    A pair that contradicts what was known is not believed: that stays, as uncertain as makes the two agree (Birge,
    Phys. Rev. 40 (1932) 207), so that the next pair decides between them, from further off. Otherwise the pair alone
    counts, or both ``together`` where both are close: what is imperfect grows with the distance of a pair.
    """
    known = replace(before, covariance_m2=before.covariance_m2 + np.diag([height_m**2, 0.0, 0.0]))
    apart = found.offset_m - before.offset_m
    surprise = float(apart @ np.linalg.solve(known.covariance_m2 + found.covariance_m2, apart)) / len(apart)
    if surprise > SURPRISE:
        return replace(before, covariance_m2=before.covariance_m2 * surprise)
    return _together(known, found) if together else found


def _together(first: Aberrations, second: Aberrations) -> Aberrations:
    """Return what two independent results say together."""
    weights = [np.linalg.inv(found.covariance_m2) for found in (first, second)]
    covariance = np.asarray(np.linalg.inv(weights[0] + weights[1]), dtype=np.float64)
    offset_m = covariance @ (weights[0] @ first.offset_m + weights[1] @ second.offset_m)
    return Aberrations(offset_m, covariance, second.width_factor, second.misfit)


def packed(image: NDArray[Any]) -> str:
    """Return an image as text, in single precision.

    Examples
    --------
    >>> unpacked(packed(np.eye(2)))
    array([[1., 0.],
           [0., 1.]])
    """
    data = np.ascontiguousarray(image, dtype="<f4")
    return f"{data.shape[0]} {data.shape[1]} {base64.b64encode(zlib.compress(data.tobytes(), 1)).decode('ascii')}"


def unpacked(text: str) -> Array:
    """Return the image that `packed` made text."""
    height, width, body = text.split(" ")
    data = np.frombuffer(zlib.decompress(base64.b64decode(body)), dtype="<f4")
    return data.reshape(int(height), int(width)).astype(np.float64)


def in_nm(length_m: float) -> str:
    """Return a length in words."""
    return f"{length_m * 1e9:.3g} nm"


def _interest(image: NDArray[Any]) -> tuple[float, ...]:
    """Return how much structure each block of an image shows, noise smoothed away."""
    smooth = gaussian_filter(np.asarray(image, dtype=np.float64), 3.0)
    gy, gx = np.gradient(smooth)
    energy = gx**2 + gy**2
    for axis, size in enumerate(energy.shape):
        edges = np.arange(BLOCKS + 1) * size // BLOCKS
        shape = (-1, 1) if axis == 0 else (1, -1)
        energy = np.add.reduceat(energy, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return tuple(float(v) for v in energy.ravel())


def _place(taken: Taken, fov_m: float) -> tuple[float, float]:
    """Return the centre, inside an image's field, of the smaller field with most structure, the near ones preferred."""
    energy = np.array(taken.interest).reshape(BLOCKS, BLOCKS)
    energy = np.maximum(energy - np.median(energy), 0.0)
    block_m = taken.fov_m / BLOCKS
    sigma = max(fov_m / block_m / 5.0, 0.7)  # what the window of the smaller field lets through
    inside = gaussian_filter(energy, sigma, mode="constant")
    offset_m = (np.arange(BLOCKS) + 0.5 - BLOCKS / 2.0) * block_m
    near = np.exp(-0.5 * (offset_m[:, None] ** 2 + offset_m[None] ** 2) / (taken.fov_m / 3.0) ** 2)
    room = np.abs(offset_m) <= max(taken.fov_m - fov_m, block_m) / 2.0
    score = np.sqrt(inside) * near * np.outer(room, room)
    i, j = np.unravel_index(int(np.argmax(score)), score.shape)
    return taken.centre_m[0] + float(offset_m[j]), taken.centre_m[1] + float(offset_m[i])


def taken(config: AlignConfig, scan: Scan, state: MicroscopeState, frame: Frame) -> Taken:
    """Return what is kept of an image."""
    return Taken(
        setting_m=(state.defocus_m, state.stigmator_a_m, state.stigmator_b_m),
        fov_m=scan.fov_m,
        centre_m=(scan.centre_x_m, scan.centre_y_m),
        sharpness=sharpness(frame),
        convergence_rad=state.convergence_rad or config.convergence_rad,
        interest=_interest(frame.data),
        image=packed(frame.data),
    )
