"""Which image tells most about focus and stigmation: pairs through focus, ever closer, and one to verify."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.ndimage import gaussian_filter

from autoscope.config import ConfigModel
from autoscope.perception.aberrations import Aberrations, Look, PolarPower, estimate, polar_power
from autoscope.perception.sharpness import sharpness
from autoscope.quantities import Angle, PositiveDuration, PositiveLength
from autoscope.records import (
    Frame,
    MicroscopeState,
    Scan,
)

Array = NDArray[np.float64]
Setting = tuple[float, float, float]
FIELDS = ("defocus_m", "stigmator_a_m", "stigmator_b_m")

BLOCKS = 32
"""Structure is remembered on a map of this many blocks a side, to choose where the next, smaller field lies."""
SAME = 1e-12
"""Settings closer than this are one setting (m)."""
MODEL_ERROR = 0.08
"""Part of the distance between the images of a pair by which a calculated offset may be wrong though it looks exact."""
FALLBACK = 0.8
"""A verifying image less sharp than this part of another one of its field loses against it."""


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
    finest_m: PositiveLength = 20e-9
    """The closest pair: less than this below and above focus hardly widens the probe."""
    blur_px: float = Field(default=2.5, gt=0.5)
    """Standard deviation of the probe, in pixels, that the defocus of a pair makes: it decides the field of view."""
    convergence_rad: Angle = 25e-3
    """Taken where the instrument does not read its convergence angle back."""
    max_images: int = Field(default=8, ge=4)
    """At most this many, the verifying one included."""

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
    power: tuple[float, ...]
    noise: float
    sharpness: float
    convergence_rad: float
    interest: tuple[float, ...]
    """Structure of each of `BLOCKS` squared blocks, row by row."""

    @property
    def spectrum(self) -> PolarPower:
        """Return the power spectrum as the estimate takes it."""
        return PolarPower(np.array(self.power), self.noise)

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
        self._found: dict[int, Aberrations] = {}

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
        pairs = self._pairs(count)
        if count < 2 * pairs:
            centre, radius_m = self._stage(pairs - 1)
            taken, before = self.taken[-1], self.found(count - 1)
            reason = f"{self._said(before)}: now {in_nm(radius_m)} to the other side of that"
            return Plan(self._shifted(centre, -radius_m), taken.fov_m, taken.centre_m, reason, before)
        found = self.found()
        if self._enough(pairs):
            return self._verify(found, 2 * pairs)
        radius_m = self._stage(pairs)[1]
        fov_m, centre_m = self._field(radius_m)
        reason = f"{self._said(found)}: {in_nm(radius_m)} to each side of that tells most, at {in_nm(fov_m)} field"
        return Plan(self._shifted(self._focus(found), radius_m), fov_m, centre_m, reason, found)

    def _verify(self, found: Aberrations, paired: int) -> Plan:
        focus, latest = self._focus(found), self.taken[-1]
        verified = self.taken[paired:]
        if not verified:
            reason = f"{self._said(found)}: an image there verifies it"
            return Plan(focus, latest.fov_m, latest.centre_m, reason, found)
        moved_m = math.dist(focus, verified[-1].setting_m)
        if moved_m > max(0.1 * self.config.finest_m, found.std_m) and len(self.taken) < self.config.max_images:
            reason = f"the last image moved it by {in_nm(moved_m)}: {self._said(found)}: once more"
            return Plan(focus, latest.fov_m, latest.centre_m, reason, found)
        return self._last("verified by an image")

    def _last(self, why: str) -> Plan:
        if len(self.taken) < 2:
            return Plan(self.start_m, final=f"{why} before a pair of images; the start was set again")
        found, latest = self.found(), self.taken[-1]
        focus = self._focus(found)
        rivals = [t for t in self.taken if t.field == latest.field]
        best = max(rivals, key=lambda t: t.sharpness)
        near = min(rivals, key=lambda t: math.dist(t.setting_m, focus))
        far = math.dist(near.setting_m, focus) > max(self.config.finest_m / 2.0, 3.0 * found.std_m)
        if len(rivals) > 2 and (far or near.sharpness < FALLBACK * best.sharpness):
            word = (
                f"{why}: the sharpest image taken, {in_nm(math.dist(best.setting_m, focus))} from the calculated focus"
            )
            return Plan(best.setting_m, found=found, final=word)
        return Plan(focus, found=found, final=f"{why}: {self._said(found)}")

    # --- what is known ---------------------------------------------------------------------------

    def found(self, images: int | None = None) -> Aberrations:
        """Return what is known after some images (all): from the closest pair on, within what those before it left.

        The wide images are fitted alone, and only their result is kept, as a prior: what is imperfect in the model
        grows with the width of the probe, and must not weigh on the close images.
        """
        number = len(self.taken) if images is None else images
        if number not in self._found:
            last = max(self._pairs(number) - 1, 0)
            centre, radius_m = self._stage(last)
            taken = self.taken[2 * last : number]
            std_m = [radius_m] * 3 if last else [self.config.span_m] + [self.config.stigmator_span_m] * 2
            looks = [_look(t, self.config.size_px) for t in taken]
            self._found[number] = estimate(looks, taken[0].convergence_rad, [-s for s in centre], std_m)
        return self._found[number]

    def _pairs(self, images: int) -> int:
        """Return how many pairs the first images are, a half one included; those that verify belong to none."""
        pairs = 0
        while 2 * pairs < images and not self._enough(pairs):
            pairs += 1
        return pairs

    def _enough(self, pairs: int) -> bool:
        """Return whether no closer pair follows these: as close as useful, or too few images left to verify it."""
        if pairs == 0:
            return False
        return self._stage(pairs - 1)[1] <= self.config.finest_m * 1.001 or 2 * pairs + 3 > self.config.max_images

    def _stage(self, number: int) -> tuple[Setting, float]:
        """Return the middle of a pair, and how far to each side its images lie."""
        if number == 0:
            return self.start_m, self.config.span_m
        found, before_m = self.found(2 * number), self._stage(number - 1)[1]
        radius_m = 2.0 * math.hypot(2.0 * found.std_m, MODEL_ERROR * before_m)
        return self._focus(found), max(self.config.finest_m, min(radius_m, before_m / 2.0))

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


def _look(taken: Taken, size_px: int) -> Look:
    return Look(taken.setting_m, taken.field, taken.fov_m / size_px, (size_px, size_px), taken.spectrum)


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
    spectrum = polar_power(frame.data)
    return Taken(
        setting_m=(state.defocus_m, state.stigmator_a_m, state.stigmator_b_m),
        fov_m=scan.fov_m,
        centre_m=(scan.centre_x_m, scan.centre_y_m),
        power=tuple(float(v) for v in spectrum.power),
        noise=spectrum.noise,
        sharpness=sharpness(frame),
        convergence_rad=state.convergence_rad or config.convergence_rad,
        interest=_interest(frame.data),
    )
