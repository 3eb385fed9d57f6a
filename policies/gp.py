"""A Gaussian process on what the overview shows of each pixel and on where it lies: the default decision engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from autoscope.surrogates.features import FeatureTable
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.prior import Shape
from autoscope.surrogates.surrogate import Surrogate
from policies.field import FieldConfig
from policies.learning import LearningConfig, LearningPolicy

Columns = tuple[int, ...]


class GaussianProcessConfig(LearningConfig):
    """Settings of the Gaussian-process policy."""

    features: Literal["coordinates", "image", "both"] = "both"
    """What the model sees of a pixel: its place, its neighbourhood in the overview, or both, added. With "both", the
    place alone takes over where the image turns out to tell nothing."""
    kernel: Shape = "matern52"


class GaussianProcessPolicy(LearningPolicy):
    """Exact GP on principal components of patches, local jets and coordinates, with an acquisition rule."""

    Config: ClassVar[type[FieldConfig]] = GaussianProcessConfig

    def __init__(self, config: GaussianProcessConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self.config = config

    def _make_members(self, table: FeatureTable) -> Mapping[str, Surrogate]:
        groups = self._groups(table)
        members = {"gp": GaussianProcess(groups=groups, shape=self.config.kernel)}
        if len(groups) > 1:
            members["coordinates"] = GaussianProcess(groups=(table.place,), shape=self.config.kernel)
        return members

    def _groups(self, table: FeatureTable) -> tuple[Columns, ...]:
        """Return column groups whose kernels are added: components, jets, place."""
        image = tuple(group for group in (table.components, table.jets) if group)
        if self.config.features == "coordinates" or not image:
            return (table.place,)
        return image if self.config.features == "image" else (*image, table.place)

    def _columns(self, table: FeatureTable) -> Columns:
        return tuple(column for group in self._groups(table) for column in group)
