"""What is permitted on each axis: the instrument's own range, narrowed by the run's limits."""

from __future__ import annotations

import math

from autoscope.config import LimitsConfig
from autoscope.errors import ConfigError, LimitExceeded
from autoscope.records import Capabilities, Range

EVERYTHING = Range(low=-1.7976931348623157e308, high=1.7976931348623157e308)
"""Where neither instrument nor run says anything: every finite number."""


def permitted(limits: LimitsConfig, capabilities: Capabilities) -> dict[str, Range]:
    """Return the permitted interval of every axis that has one, keyed by action field name.

    Raises
    ------
    ConfigError
        A limit is the wrong way round, or leaves nothing of the instrument's range.

    Examples
    --------
    >>> scope = Capabilities(instrument="x", serial="1", simulated=True, voltage_v=2e5, actions=(), detectors=(),
    ...     ranges={"x_m": Range(low=-1e-3, high=1e-3)})
    >>> permitted(LimitsConfig(x_m=(0.0, 2.0)), scope)["x_m"].high
    0.001
    """
    bounds = {
        "x_m": limits.x_m,
        "y_m": limits.y_m,
        "z_m": limits.z_m,
        "dwell_s": (EVERYTHING.low, limits.max_dwell_s) if limits.max_dwell_s is not None else None,
        "beam_current_a": (EVERYTHING.low, limits.max_beam_current_a)
        if limits.max_beam_current_a is not None
        else None,
    }
    ranges = dict(capabilities.ranges)
    for axis, bound in bounds.items():
        if bound is not None:
            ranges[axis] = _narrowed(axis, ranges.get(axis, EVERYTHING), *bound)
    return ranges


def _narrowed(axis: str, own: Range, low: float, high: float) -> Range:
    narrowed = Range(low=max(own.low, low), high=min(own.high, high))
    if narrowed.low > narrowed.high:
        raise ConfigError(
            "the limits of the run leave nothing of what the instrument can do",
            where=f"limits: {axis}",
            value=(low, high),
            limit=describe(own),
            remedy="Give (low, high) in that order and inside the instrument's range",
        )
    return narrowed


def describe(interval: Range) -> str:
    """Return an interval as people read it.

    Examples
    --------
    >>> describe(Range(low=0.0, high=2e-6))
    '[0, 2e-06]'
    """
    return f"[{interval.low:g}, {interval.high:g}]"


def require(where: str, axis: str, value: float, interval: Range, remedy: str) -> None:
    """Return if the value lies in the interval.

    Raises
    ------
    LimitExceeded
        It does not, or is not a number.
    """
    if value not in interval:  # NaN is in no interval
        raise LimitExceeded(
            f"{axis} would leave what is permitted",
            where=where,
            value=value,
            limit=f"{describe(interval)} {unit(axis)}",
            remedy=remedy,
        )


def require_choice(where: str, axis: str, value: float, capabilities: Capabilities) -> None:
    """Return if the axis takes any value, or if this is one of those it takes.

    Raises
    ------
    LimitExceeded
        It is none of them.
    """
    choices = capabilities.choices.get(axis, ())
    if choices and not any(math.isclose(value, choice, rel_tol=1e-6) for choice in choices):
        raise LimitExceeded(
            f"the instrument has no such {axis}",
            where=where,
            value=value,
            limit=", ".join(f"{choice:g}" for choice in choices),
            remedy="Choose one of them",
        )


def unit(axis: str) -> str:
    """Return the unit that stands at the end of an axis name.

    Examples
    --------
    >>> unit("dwell_s"), unit("dose_e_per_m2"), unit("width_px")
    ('s', 'e/m2', 'px')
    """
    if axis.endswith("_e_per_m2"):
        return "e/m2"
    return axis.rpartition("_")[2]
