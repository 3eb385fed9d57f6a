"""What is true: the target over the pool without noise, never the noisy draw a policy was given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter

from autoscope.benchmark.config import BenchEnvironment
from autoscope.benchmark.pool import Pool
from autoscope.benchmark.trace import Array, Truth
from autoscope.clock import SimClock
from autoscope.engine.assemble import Choice
from autoscope.errors import DataError, FrameRejected
from autoscope.protocols import Foretelling, Scalarizer
from autoscope.records import Capabilities, Frame


def truth_of(
    name: str, environment: Choice, scalarizers: Mapping[str, Choice], task: BenchEnvironment, seed: int
) -> Truth:
    """Return the truth of an environment made of a seed; a living environment of its own tells it, and is let go.

    Raises
    ------
    DataError
        The environment cannot tell what is expected, or the scalarizer gives no number somewhere.
    """
    made = environment.plugin(environment.options, clock=SimClock(), seed=seed)
    made.reset(seed=seed, options={"bare": True})
    try:
        can: Capabilities = made.describe()
        pool = Pool.of(task.pool, can)
        if task.truth.source == "target":
            values, unit, note = _target(name, made.truth(), pool), "", "the map stored as the target"
        elif isinstance(made, Foretelling):
            choice = scalarizers[task.wanted]
            values, unit = _expected(made, choice.plugin(choice.options), pool, task, can)
            note = str(getattr(made, "expectation", "expected values"))
        else:
            raise DataError(
                "this environment cannot tell what is true",
                where=name,
                remedy="Give its plug-in an 'expected' (see Foretelling in autoscope/protocols.py)",
            )
    finally:
        made.close()
    values = smoothed(values.reshape(pool.shape), task.truth.smoothing_px, pool.stride_px).ravel()
    note += f", averaged over {task.truth.smoothing_px:g} pixels (std)" if task.truth.smoothing_px else ""
    return Truth(name=name, values=values, xy_m=pool.xy_m, shape=pool.shape, unit=unit, notes=note)


def smoothed(values: Array, sigma_px: float, stride_px: int) -> Array:
    """Return a map averaged with a Gaussian whose width is told in pixels of the overview."""
    return np.asarray(gaussian_filter(values, sigma_px / stride_px)) if sigma_px else values


def _target(name: str, told: Mapping[str, object], pool: Pool) -> Array:
    target = told.get("target")
    if target is None:
        raise DataError("there is no stored target", where=name, remedy="Use 'truth: {source: expected}'")
    whole = np.asarray(target, dtype=np.float64)
    if whole.shape != (pool.scan.height_px, pool.scan.width_px):
        raise DataError("the stored target does not fit the image", where=name, value=whole.shape)
    every = Pool(pool.scan)
    return np.asarray(whole.ravel()[every.nearest(pool.xy_m)])


def _expected(
    made: Foretelling, scalarizer: Scalarizer, pool: Pool, task: BenchEnvironment, can: Capabilities
) -> tuple[Array, str]:
    """Return the scalarizer's value of the expected frame at each candidate, and its unit."""
    names = task.signals or tuple(signal.name for signal in can.signals)
    for signal in names:
        frame = made.expected(signal, pool.xy_m[:1], task.dwell_s)
        if scalarizer.fits(row(frame, 0)):
            values = values_of(made.expected(signal, pool.xy_m, task.dwell_s), scalarizer, task.wanted)
            return values, scalarizer.scalarize(row(frame, 0), task.wanted).unit
    raise DataError("no signal of this environment fits the scalarizer", where=task.wanted, value=names)


def values_of(frame: Frame, scalarizer: Scalarizer, name: str) -> Array:
    """Return the value of each point of a frame (point, ...), shape (n,).

    Raises
    ------
    DataError
        Somewhere it has none.
    """
    at_once = getattr(scalarizer, "map_scalar", None)
    try:
        if at_once is not None and frame.data.ndim == 2:
            values = np.asarray(at_once(frame.data[None], frame.meta.axes[-1], frame.meta.unit)[0][0], np.float64)
        else:
            values = np.array([scalarizer.scalarize(row(frame, k), name).value for k in range(len(frame.data))])
    except FrameRejected as error:
        raise DataError(f"the truth cannot be scalarized: {error}", where=name) from error
    if not np.isfinite(values).all():
        raise DataError(
            "the truth has no value at some candidates", where=name, value=int((~np.isfinite(values)).sum())
        )
    return values


def row(frame: Frame, k: int) -> Frame:
    """Return the frame of one point of a frame (point, ...)."""
    return Frame(frame.meta.replace(axes=frame.meta.axes[1:]), np.array(frame.data[k]))
