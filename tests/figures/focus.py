"""Focus and stigmation: how sharp the field is at the end, against the sharpest it could be, in how many images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import yaml
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.signal.windows import hann
from scipy.stats import binomtest

from autoscope.config import Document
from autoscope.engine.assemble import Job, assemble, resolve
from autoscope.engine.events import StepEvent
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import Scan
from environments.instruments.simulated.acquisition import _defocus_of_pixels
from environments.instruments.simulated.blur import Blur
from environments.instruments.simulated.optics import Probe
from environments.instruments.simulated.scan import Raster
from tests.figures.figure import Figure

STARTS = 100
NEAR = 0.9
SPECIMENS: dict[str, dict[str, Any]] = {
    "catalyst": {"kind": "catalyst", "extent": ["8 um", "8 um"]},
    "nanoparticles": {"kind": "nanoparticles"},
}
STATED = ("defocus_std_m", "astigmatism_a_std_m", "astigmatism_b_std_m")
CENTRAL = 1.6448536269514722
"""Standard deviations to each side that hold 90 % of a normal variable."""


@dataclass(frozen=True)
class Alignment:
    """What came of one start."""

    images: int
    dose_e: float
    sharpness: float
    """Of the noise-free image of the last field, over the best one of any defocus and stigmation."""
    residual_m: float
    """Root of the summed squares of true defocus and astigmatisms in the middle of the last field."""
    probe: float
    """Best rms radius of the probe over the one left."""
    z: tuple[float, ...]
    """True aberration left, in the middle of the last field, over the stated uncertainty of each of the three."""
    reason: str


class _Images:
    def __init__(self) -> None:
        self.scans: list[Scan] = []
        self.dose_e = 0.0
        self.std_m: tuple[float, ...] = (math.nan,) * 3

    def on_step(self, event: StepEvent) -> None:
        if event.decision.fit is not None:
            said = event.decision.fit.hyperparameters
            self.std_m = tuple(float(said[name]) for name in STATED)
        if isinstance(event.decision.action, Scan):
            self.scans.append(event.decision.action)
            self.dose_e += event.outcome.dose_e


def alignment(specimen: dict[str, Any], seed: int, stigmator_m: float, **options: Any) -> Alignment:
    """Align from a random start: defocus within +-1 um, each stigmator within +-``stigmator_m``."""
    rng = np.random.default_rng([seed, 77])
    defocus, a, b = rng.uniform(-1.0, 1.0, 3) * np.array([1e-6, stigmator_m, stigmator_m])
    lens = {"hidden_defocus": f"{defocus} m", "hidden_stigmator_a": f"{a} m", "hidden_stigmator_b": f"{b} m"}
    config = {
        "name": "alignment",
        "seed": seed,
        "environment": {"name": "simulated", "options": {"microscope": {"lens": lens, "specimens": [specimen]}}},
        "policy": {"name": "align", "options": options},
    }
    job = assemble(resolve(Document(yaml.safe_dump(config), "alignment")))
    images = _Images()
    end = Engine(job, MemoryJournal(clock=job.clock, keep_frames=False), listener=images).run()
    return _compared(job, images, end.reason)


def _compared(job: Job, images: _Images, reason: str) -> Alignment:
    scope = job.environment._instrument  # type: ignore[attr-defined]  # only a simulation can be looked into
    scene, last = scope._scene(job.clock.now_s(), 0.0), images.scans[-1]
    raster = Raster(last, scene.scanning, scene.coils, scene.tilt, scene.start_s)
    x_m, y_m = raster.pixels_m(scene.view)
    ideal = scene.specimen.image_yield("HAADF", x_m, y_m, np.zeros_like(x_m))
    defocus_m = np.asarray(_defocus_of_pixels(raster, scene))
    probe, middle_m = scene.probe, float(np.median(defocus_m))
    focused = Probe(probe.convergence_rad, probe.floor_m2, 0.0, 0.0)

    def sharp(with_probe: Probe, shift_m: float) -> float:
        return true_sharpness(Blur(with_probe, defocus_m + shift_m, raster.pixel_matrix_m, raster.shape)(ideal))

    best = minimize_scalar(
        lambda shift_m: -sharp(focused, shift_m),
        bounds=(-middle_m - 10e-9, -middle_m + 10e-9),
        method="bounded",
        options={"xatol": 1e-10, "maxiter": 20},
    )
    most = max(-float(best.fun), sharp(focused, -middle_m))
    residual_m = math.sqrt(middle_m**2 + probe.stigmator_a_m**2 + probe.stigmator_b_m**2)
    ratio = probe.rms_m(0.0) if probe.is_round else focused.rms_m(0.0)
    left_m = (middle_m, probe.stigmator_a_m, probe.stigmator_b_m)
    z = tuple(left / std for left, std in zip(left_m, images.std_m, strict=True))
    share, width = sharp(probe, 0.0) / most, ratio / probe.rms_m(middle_m)
    return Alignment(len(images.scans), images.dose_e, share, residual_m, width, z, reason)


def true_sharpness(image: NDArray[Any]) -> float:
    """Return the mean square spatial frequency of a noise-free image, in (cycles/pixel)^2, up to Nyquist."""
    data = np.asarray(image, dtype=np.float64)
    window = np.outer(*(hann(size, sym=False) for size in data.shape))
    power = np.square(np.abs(scipy.fft.fft2((data - (data * window).sum() / window.sum()) * window)))
    squared = scipy.fft.fftfreq(data.shape[0])[:, None] ** 2 + scipy.fft.fftfreq(data.shape[1])[None] ** 2
    band = (squared > (2.0 / min(data.shape)) ** 2) & (squared < 0.25)
    return float((power * squared)[band].sum() / power[band].sum())


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the figures: stigmators within +-300 nm, and with ``slow`` also +-100 nm and +-1 um."""
    for stigmator_m in (1e-7, 3e-7, 1e-6) if slow else (3e-7,):
        for name, specimen in SPECIMENS.items():
            yield from _of(name, specimen, stigmator_m)


def _of(name: str, specimen: dict[str, Any], stigmator_m: float) -> Iterator[Figure]:
    runs = [alignment(specimen, seed, stigmator_m) for seed in range(STARTS)]
    hits = sum(r.sharpness >= NEAR and r.images <= 8 for r in runs)
    good, interval = hits / STARTS, binomtest(hits, STARTS).proportion_ci(0.95, method="exact")
    counts = [r.images for r in runs]
    where = f"{name}, defocus within +-1 um, stigmators within +-{stigmator_m * 1e9:.0f} nm of focus"
    probes = np.quantile([r.probe for r in runs], [0.05, 0.5])
    residual = np.quantile([r.residual_m for r in runs], [0.5, 0.95]) * 1e9
    how = (
        f"{where}; noise-free image at the end over the best of any setting, mean square spatial frequency >= {NEAR}; "
        f"95 % interval of the share (Clopper-Pearson): {interval.low:.3f} to {interval.high:.3f}; "
        f"images: median {np.median(counts):g}, most {max(counts)}; dose {np.median([r.dose_e for r in runs]):.2g} e; "
        f"aberration left: median {residual[0]:.2g} nm, 95 % below {residual[1]:.2g} nm; "
        f"best probe over the one left: median {probes[1]:.2f}, 95 % above {probes[0]:.2f}"
    )
    tag = f"{name}_{stigmator_m * 1e9:.0f}nm"
    yield Figure(f"align_sharp_{tag}", good, "share of starts", ">= 0.95", good >= 0.95, STARTS, how)
    covered = float(np.mean(np.abs([r.z for r in runs]) < CENTRAL))
    goal, honest = "0.80 to 0.97", 0.8 <= covered <= 0.97
    how = f"{where}; share of aberrations left (three a start) within the stated 90 % interval about zero"
    yield Figure(f"align_coverage_{tag}", covered, "share", goal, honest, 3 * STARTS, how)
