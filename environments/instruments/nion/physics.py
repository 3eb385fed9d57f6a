"""What usim leaves out: in images electrons and their noise, defocus, blanker and beam current; drift everywhere.

usim draws its sample as layers, adds noise that does not depend on dose, and looks at neither lens, blanker nor
current. Here the same sample is drawn once, and an image of it is ``Poisson(I t / e * (VACUUM + LAYER * layers))``,
blurred by the geometric disc of defocus. Spectra stay usim's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autoscope.clock import SystemClock
from autoscope.exposure import electrons

Image = NDArray[np.float32]

VACUUM = 0.002
"""Part of the electrons that reach the detector through a hole."""
LAYER = 0.02
"""Part of the electrons that each layer of the sample scatters onto the detector."""
MAP_M = 1e-6
"""Width of the drawn sample."""
MAP_PX = 2000


class Drift:
    """Where the sample has drifted since the start; takes the place of usim's own drift, which is switched off in it.

    Parameters
    ----------
    velocity_m_per_s : (float, float)
        Along x and y of the scan: positive x moves the image to +x.
    point : callable
        Makes usim's points, ``point(y=, x=)``.
    """

    def __init__(self, velocity_m_per_s: tuple[float, float], point: Callable[..., Any]) -> None:
        self._velocity, self._point = velocity_m_per_s, point
        self._clock = SystemClock()

    @property
    def offset_m(self) -> Any:
        """The displacement now."""
        passed_s = self._clock.now_s()
        return self._point(y=self._velocity[1] * passed_s, x=self._velocity[0] * passed_s)


class Physics:
    """Images of usim's sample with the physics of an electron dose.

    Parameters
    ----------
    generator : ScanDataGenerator
        usim's own, which knows the sample.
    hidden_defocus_m : float
        C10 at which the image is sharp.
    drift_m_per_s : (float, float)
        How the sample goes on drifting while an image is scanned, along x and y of the scan.
    seed : int
        Of the electrons.
    """

    def __init__(
        self,
        generator: Any,
        hidden_defocus_m: float = 0.0,
        drift_m_per_s: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        self._generator, self._hidden_m, self._drift = generator, hidden_defocus_m, drift_m_per_s
        self._rng = np.random.default_rng(seed)
        self._drawn: tuple[int, Image] | None = None

    def image(self, instrument: Any, parameters: Any) -> Image:
        """Return an image (h, w) float32, in electrons; keeps the signature of usim's ``generate_scan_data``."""
        if instrument.GetVal("C_Blank") != 0.0:
            return np.zeros(tuple(parameters.size), np.float32)
        pixel_m = parameters.fov_size_nm.width * 1e-9 / parameters.size.width
        layers = self._sampled(instrument, parameters, pixel_m)
        defocus_m = abs(instrument.GetVal("C10") - self._hidden_m)
        # a uniform disc of radius r has a standard deviation of r / 2 along each axis
        blur_px = 0.5 * instrument.GetVal("ConvergenceAngle") * defocus_m / pixel_m
        layers = ndimage.gaussian_filter(layers, blur_px) if blur_px > 0.1 else layers
        dose_e = electrons(instrument.GetVal("BeamCurrent"), parameters.pixel_time_us * 1e-6)
        return self._rng.poisson(dose_e * (VACUUM + LAYER * layers)).astype(np.float32)

    def _sampled(self, instrument: Any, parameters: Any, pixel_m: float) -> Image:
        """Return the layers (h, w) at the pixels of a scan."""
        height, width = tuple(parameters.size)
        v = (np.arange(height)[:, None] - (height - 1) / 2) * pixel_m
        u = (np.arange(width)[None] - (width - 1) / 2) * pixel_m
        cosine, sine = np.cos(parameters.rotation_rad), np.sin(parameters.rotation_rad)
        offset = instrument.value_manager.actual_offset_m
        centre = parameters.center_nm
        pixel_s = parameters.pixel_time_us * 1e-6
        passed_s = np.arange(height)[:, None] * width * pixel_s + np.arange(width)[None] * pixel_s
        x_m = cosine * u - sine * v + centre.x * 1e-9 - offset.x - self._drift[0] * passed_s
        y_m = sine * u + cosine * v + centre.y * 1e-9 - offset.y - self._drift[1] * passed_s
        places = [place / MAP_M * MAP_PX + (MAP_PX - 1) / 2 for place in (y_m, x_m)]
        sampled: Image = ndimage.map_coordinates(self._map(), places, order=1, mode="constant")
        return sampled

    def _map(self) -> Image:
        """Return the whole sample, drawn once for each."""
        from nion.utils import Geometry  # type: ignore[import-not-found,import-untyped,unused-ignore]

        index = self._generator.sample_index
        if self._drawn is None or self._drawn[0] != index:
            drawn = np.zeros((MAP_PX, MAP_PX), np.float32)
            size = Geometry.FloatSize(height=MAP_M * 1e9, width=MAP_M * 1e9)
            nothing, shape = Geometry.FloatPoint(), Geometry.IntSize(height=MAP_PX, width=MAP_PX)
            self._generator.sample.plot_features(drawn, nothing, size, nothing, nothing, shape)
            self._drawn = index, np.maximum(drawn, 0.0)
        return self._drawn[1]
