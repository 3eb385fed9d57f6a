"""The pool of candidates: the pixels of an overview, or every so many-th of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoscope.benchmark.config import PoolConfig
from autoscope.benchmark.trace import Array, Indices
from autoscope.records import Capabilities, Scan


@dataclass(frozen=True)
class Pool:
    """Candidates on the pixel centres of a scan, numbered row by row.

    Examples
    --------
    >>> pool = Pool(Scan(fov_m=4e-9, width_px=4, height_px=4, dwell_s=1e-6), stride_px=2)
    >>> pool.shape, pool.nearest(np.array([[1.4e-9, -1.6e-9]]))
    ((2, 2), array([1]))
    """

    scan: Scan
    stride_px: int = 1

    @classmethod
    def of(cls, config: PoolConfig, capabilities: Capabilities) -> Pool:
        """Return the pool of an instrument: of its only image, or of the overview configured."""
        scan = capabilities.native_scan or Scan(
            fov_m=config.fov_m,
            width_px=config.width_px,
            height_px=config.height_px,
            dwell_s=config.dwell_s,
            detectors=(config.detector,),
        )
        return cls(scan, config.stride_px)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self._lines(self.scan.height_px)), len(self._lines(self.scan.width_px))

    @cached_property
    def xy_m(self) -> Array:
        """Offsets of the candidates from the optical axis, shape (pool, 2); by the formula of `autoscope.records`."""
        scan = self.scan
        i, j = np.meshgrid(self._lines(scan.height_px), self._lines(scan.width_px), indexing="ij")
        x = scan.centre_x_m + ((j + 0.5) / scan.width_px - 0.5) * scan.fov_m
        y = scan.centre_y_m + ((i + 0.5) / scan.height_px - 0.5) * scan.fov_m * scan.height_px / scan.width_px
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def nearest(self, xy_m: Array) -> Indices:
        """Return the candidate nearest to each place, (n, 2) -> (n,)."""
        scan, (rows, columns) = self.scan, self.shape
        pitch_m, start = scan.fov_m / scan.width_px, self._start
        j = ((xy_m[:, 0] - scan.centre_x_m) / pitch_m + scan.width_px / 2 - 0.5 - start) / self.stride_px
        i = ((xy_m[:, 1] - scan.centre_y_m) / pitch_m + scan.height_px / 2 - 0.5 - start) / self.stride_px
        row, column = (np.clip(np.rint(v), 0, n - 1).astype(np.int64) for v, n in ((i, rows), (j, columns)))
        return np.asarray(row * columns + column)

    @property
    def _start(self) -> int:
        return (self.stride_px - 1) // 2

    def _lines(self, size: int) -> Indices:
        start = min(self._start, size - 1)
        return start + self.stride_px * np.arange(math.ceil((size - start) / self.stride_px), dtype=np.int64)
