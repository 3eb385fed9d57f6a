"""Several measurements chosen together, each knowing of those chosen before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscope.acquisition.choice import Mask, choose
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.acquisition.tabulated import Array, Floats
from autoscope.surrogates.surrogate import Surrogate


@dataclass(frozen=True)
class Pick:
    """A chosen candidate (index in the pool), and what was thought of it when it was chosen."""

    index: int
    mean: float
    std: float
    value: float


def choose_batch(
    rule: AcquisitionRule,
    model: Surrogate,
    pool: Floats,
    count: int,
    *,
    forbidden: Mask,
    noise_std: float,
    measured_mean: Array,
    seen: Array,
    rng: np.random.Generator,
    pending: Floats | None = None,
    cost: Floats | None = None,
) -> list[Pick]:
    """Return up to ``count`` different open candidates, best first; fewer where fewer are open.

    Each is the best by the rule once those before it count as measured with the value predicted for them. The mean
    of a Gaussian process does not change by being told its own mean, so only the std shrinks (GP-BUCB: Desautels,
    Krause & Burdick, JMLR 2014, section 4; the kriging believer of Ginsbourger, Le Riche & Carraro 2010), and the best
    and the values seen grow by the predictions. A rule that draws draws anew for each.

    Parameters
    ----------
    rule : AcquisitionRule
        What is wanted.
    model : Surrogate
        Fitted and attached to ``pool``; it is not changed.
    pool : array
        Features of all candidates, (m, d).
    noise_std : float
        Expected of one measurement, in the unit of the target.
    pending : array, optional
        Features of measurements under way, (p, d).
    forbidden, measured_mean, seen, rng, cost
        As in `AcquisitionRule.evaluate`.

    Raises
    ------
    ModelError
        Nothing is open.
    """
    known = np.empty((0, pool.shape[1]), dtype=pool.dtype) if pending is None else pending
    believed = model.predict(known)[0] if len(known) else np.empty(0)
    here, seen = np.append(measured_mean, believed), np.append(seen, believed)
    mean, std = model.pool_posterior()
    closed, picks = forbidden.copy(), list[Pick]()
    for _ in range(max(min(count, int((~forbidden).sum())), 1)):
        if len(known):
            std = model.pool_std_given(known, np.full(len(known), noise_std))
        so_far = np.array([pick.index for pick in picks], dtype=np.int64)
        values = rule.evaluate(
            mean, std, measured_mean=here, seen=seen, model=model, rng=rng, cost=cost, forbidden=closed, pending=so_far
        )
        index = choose(values, rng, closed)
        picks.append(Pick(index, float(mean[index]), float(std[index]), float(values[index])))
        closed[index] = True
        known = np.concatenate([known, pool[index : index + 1]])
        here, seen = np.append(here, mean[index]), np.append(seen, mean[index])
    return picks
