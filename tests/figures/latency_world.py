"""A synthetic field of view for timing decisions: texture and particles, a value at every pixel, all from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from autoscope.chance import stream
from autoscope.records import (
    Axis,
    Budget,
    Capabilities,
    Decision,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Outcome,
    Result,
    Scalar,
    Scan,
    SpectrumSignal,
    View,
)
from policies.pixels import PixelGrid

Array = NDArray[np.float64]

PIXEL_M = 1e-9
NOISE = 0.03
"""Standard deviation of a measurement over that of the map."""
STATE = MicroscopeState(time_s=0.0, beam_current_a=1e-10)
DESCRIPTION = "synthetic overview (Gaussian texture at three scales, bright particles, counting noise; fixed seed)"


@dataclass
class Field:
    """Answers decisions from an image (h, w) and a map of the target (h, w)."""

    image: Array
    target: Array
    rng: np.random.Generator
    steps: int = 0
    capabilities: Capabilities = field(init=False)

    def __post_init__(self) -> None:
        height, width = self.image.shape
        axis = Axis(name="energy", unit="eV", size=4)
        self.capabilities = Capabilities(
            instrument="stored",
            serial="1",
            simulated=True,
            voltage_v=2e5,
            actions=("scan", "measure"),
            detectors=("HAADF",),
            signals=(SpectrumSignal(name="EDS", axis=axis),),
            native_scan=Scan(fov_m=width * PIXEL_M, width_px=width, height_px=height, dwell_s=1e-6),
        )
        self.grid = PixelGrid(self.capabilities.native_scan)
        self.noise_std = NOISE * float(self.target.std())

    def view(self, pending: tuple[Any, ...] = ()) -> View:
        """Return what a policy is shown: no limits, and what is under way."""
        view = View(step=self.steps, time_s=0.0, budget=Budget(), state=STATE, capabilities=self.capabilities)
        return view.replace(pending=pending)

    def answer(self, decision: Decision) -> Result:
        """Return the overview, or the noisy value of the pixel asked for."""
        self.steps += 1
        action = decision.action
        if isinstance(action, Scan):
            return self._result(frames=(self._frame(action),))
        pixel = self.grid.pixel_at(action.x_m, action.y_m)
        value = float(self.target.ravel()[pixel] + self.noise_std * self.rng.normal())
        scalar = Scalar(name="target", value=value, std=self.noise_std, unit="counts", scalarizer="planted/1/0")
        return self._result(values=(scalar,))

    def told(self, pixel: int) -> tuple[Decision, Result]:
        """Return a measurement at a pixel as if somebody else had decided it."""
        x_m, y_m = self.grid.position(pixel)
        action = Measure(x_m=x_m, y_m=y_m, dwell_s=0.1, signals=("EDS",))
        decision = Decision(action=action, purpose="spectrum", reason="Given.")
        return decision, self.answer(decision)

    def _frame(self, scan: Scan) -> Frame:
        height, width = self.image.shape
        axes = (Axis(name="y", unit="m", size=height), Axis(name="x", unit="m", size=width))
        meta = FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=scan.dwell_s, x_m=0.0, y_m=0.0)
        return Frame(meta, self.image.copy())

    def _result(self, values: tuple[Scalar, ...] = (), frames: tuple[Frame, ...] = ()) -> Result:
        outcome = Outcome(act_id="a", status="done", state_before=STATE, state=STATE, values=values)
        return Result(outcome, frames)


def synthetic(height: int, width: int, seed: int = 1) -> Field:
    """Return a field whose target follows the image in part, and a slow trend of its own in part.

    Examples
    --------
    >>> field = synthetic(20, 30)
    >>> field.image.shape, float(field.target.std().round(3))
    ((20, 30), 1.0)
    """
    rng = stream(seed, f"field {height} x {width}")
    texture = _standard(sum(s * _standard(_smooth(rng, height, width, s)) for s in (1.5, 4.0, 10.0)))
    particles = _particles(rng, height, width)
    trend = _standard(_smooth(rng, height, width, max(height, width) / 6))
    clean = 60.0 + 12.0 * texture + 90.0 * particles
    image = rng.poisson(np.maximum(clean, 1.0)).astype(np.float64)
    target = _standard(particles * (1.0 + 0.4 * trend) + 0.15 * texture + 0.2 * trend)
    return Field(image, target, stream(seed, "noise of measurements"))


def _smooth(rng: np.random.Generator, height: int, width: int, scale_px: float) -> Array:
    return np.asarray(gaussian_filter(rng.normal(size=(height, width)), scale_px, mode="wrap"))


def _particles(rng: np.random.Generator, height: int, width: int) -> Array:
    """Return discs with soft edges, one in about 600 pixels, of sizes between 2 and 6 pixels, shape (h, w)."""
    sizes, image = np.linspace(2.0, 6.0, 5), np.zeros((height, width))
    for size in sizes:
        seeds = rng.random((height, width)) < 1.0 / (600.0 * len(sizes))
        spread = gaussian_filter(seeds.astype(np.float64), size, mode="wrap") * 2.0 * np.pi * size**2
        image = np.maximum(image, np.minimum(1.0, 2.0 * spread))
    return image


def _standard(values: Array) -> Array:
    return (values - values.mean()) / values.std()
