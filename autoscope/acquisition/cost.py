"""What each candidate would cost, and its worth per second, per electron, or per both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from autoscope.acquisition.tabulated import Array, Floats
from autoscope.config import ConfigModel
from autoscope.errors import ModelError
from autoscope.exposure import electrons
from autoscope.quantities import Duration, PositiveLength
from autoscope.records import Capabilities, MicroscopeState

Scale = Literal["log", "gain"]
"""How a rule's values are to be read: logs of a gain, or gains, of which only those above 0 are worth paying for."""


@dataclass(frozen=True)
class Costs:
    """Predicted cost of measuring each candidate.

    Attributes
    ----------
    time_s : array
        Deciding, travel, settling, overhead and dwell, (m,).
    dose_e : array
        Electrons on the sample, (m,).
    """

    time_s: Array
    dose_e: Array


class CostConfig(ConfigModel):
    """What a measurement's worth is divided by."""

    per: Literal["none", "second", "electron", "both"] = "none"
    """"both" divides by a weighted geometric mean of time and dose, so no exchange rate is needed."""
    time_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Weight of time against dose in "both"."""
    decision_s: Duration = 0.0
    """Time lost to deciding before each measurement."""
    reach_m: PositiveLength | None = None
    """How far from the optical axis the probe is sent without moving the stage; absent means anywhere."""

    def weigh(self, costs: Costs) -> Array | None:
        """Return one cost per candidate, (m,), or None where cost does not count.

        Only ratios of costs between candidates matter, so the geometric mean needs no common unit of time and dose.

        Examples
        --------
        >>> costs = Costs(time_s=np.array([1.0, 4.0]), dose_e=np.array([1e6, 1e6]))
        >>> CostConfig(per="both").weigh(costs).tolist()
        [1000.0, 2000.0]
        """
        match self.per:
            case "none":
                return None
            case "second":
                return costs.time_s
            case "electron":
                return costs.dose_e
            case "both":
                return costs.time_s**self.time_share * costs.dose_e ** (1.0 - self.time_share)


def measurement_costs(
    x_m: Array,
    y_m: Array,
    dwell_s: Array | float,
    state: MicroscopeState,
    capabilities: Capabilities,
    *,
    decision_s: float = 0.0,
    reach_m: float | None = None,
) -> Costs:
    """Return what measuring each candidate would cost from a given state: `autoscope.exposure.predict` for many.

    Parameters
    ----------
    x_m, y_m : array
        Offsets from the optical axis, (m,).
    dwell_s : array or float
        Of each candidate, (m,), or of all.
    state, capabilities
        The instrument as it stands, and its timing.
    decision_s : float
        Time lost to deciding.
    reach_m : float, optional
        Candidates farther from the axis need a stage move there first; absent means none does.
    """
    timing = capabilities.timing
    dwell = np.broadcast_to(np.asarray(dwell_s, dtype=np.float64), x_m.shape)
    time_s = dwell + (timing.point_overhead_s + decision_s)
    if reach_m is not None:
        way_m = np.hypot(x_m, y_m)
        move_s = way_m / timing.stage_speed_m_per_s + timing.stage_settle_s
        time_s += np.where(way_m > reach_m, move_s, 0.0)
    return Costs(time_s=time_s, dose_e=dwell * electrons(state.beam_current_a, 1.0))


def per_cost(values: Floats, cost: Floats, scale: Scale, reference: float = 0.0) -> Floats:
    """Return values per unit of cost, so that a cheap candidate can beat a better one that takes longer.

    Expected improvement per second (Snoek, Larochelle & Adams, NIPS 2012, section 3.2), for every rule.

    Parameters
    ----------
    values : array
        Of a rule, (m,).
    cost : array
        Positive, (m,).
    scale : {"log", "gain"}
        From logs of a gain the log of the cost is subtracted. Other values count from ``reference`` on: the gain
        above it is divided by cost; a shortfall is multiplied, so that a candidate worth nothing is worth still less
        where it is dear. At equal cost the order stays as it was.
    reference : float
        Value of a measurement that gains nothing: for a confidence bound or a drawn function the best posterior mean.

    Raises
    ------
    ModelError
        A cost is not positive.

    Examples
    --------
    >>> per_cost(np.array([2.0, 3.0, -1.0]), np.array([1.0, 2.0, 4.0]), "gain").tolist()
    [2.0, 1.5, -4.0]
    """
    if not (len(cost) == 0 or cost.min() > 0.0):
        raise ModelError(
            "a candidate costs nothing, so worth per cost has no meaning",
            value=float(np.min(cost)),
            limit="> 0",
            remedy="Count by seconds, or unblank a beam with a known current",
        )
    if scale == "log":
        return np.asarray(values - np.log(cost), dtype=values.dtype)
    gain = values - values.dtype.type(reference)
    return np.asarray(np.where(gain > 0.0, gain / cost, gain * cost), dtype=values.dtype)
