"""A Gaussian process on features learnt from image patches by a small network (deep kernel learning)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from autoscope.surrogates.deep_kernel import DeepKernel
from autoscope.surrogates.features import FeatureTable
from autoscope.surrogates.inducing import GrowingGaussianProcess
from autoscope.surrogates.inducing_deep_kernel import InducingDeepKernel
from autoscope.surrogates.surrogate import Surrogate
from policies.field import FieldConfig
from policies.gp import growing, inducing_points
from policies.learning import LearningConfig, LearningPolicy


class DeepKernelConfig(LearningConfig):
    """Settings of the deep-kernel policy."""

    dimensions: int = Field(default=3, ge=1, le=8)
    """Kernel inputs the network makes of a patch."""
    hidden: PositiveInt = 64
    """Width of its two hidden layers."""
    cold_steps: PositiveInt = 150
    """Training steps of the first fit."""
    warm_steps: PositiveInt = 20
    """Training steps of later fits, which go on from the last one."""
    learning_rate: PositiveFloat = 1e-2
    measured_limit: PositiveInt = 500
    """With so many measurements the network goes on learning from some of them, and a process on what it makes of the
    patches, seen through inducing points, takes over from the exact one."""


class DeepKernelPolicy(LearningPolicy):
    """Network on patch features, plus a kernel on coordinates, trained jointly.

    A GP on the same features and one on coordinates are its rivals: what foretells best decides.
    """

    Config: ClassVar[type[FieldConfig]] = DeepKernelConfig

    def __init__(self, config: DeepKernelConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self.config = config

    def _make_members(self, table: FeatureTable) -> Mapping[str, Surrogate]:
        config, candidates = self.config, len(self._candidates)
        place = growing((table.place,), "matern52", candidates, config.measured_limit)
        if not table.components:  # no overview could be taken: there are no patches to learn from
            return {"coordinates": place}
        deep = DeepKernel(
            (*table.components, *table.jets, *table.encoder),
            self._root_ % 2**32,
            direct=table.place,
            dimensions=config.dimensions,
            hidden=config.hidden,
            cold_steps=config.cold_steps,
            warm_steps=config.warm_steps,
            learning_rate=config.learning_rate,
        )
        image = tuple(group for group in (table.components, table.jets, table.encoder) if group)
        plain = growing((*image, table.place), "matern52", candidates, config.measured_limit)
        many = InducingDeepKernel(deep, inducing_points(candidates))
        deeper = GrowingGaussianProcess(deep, many, config.measured_limit)
        return {"deep_kernel": deeper, "gp": plain, "coordinates": place}
