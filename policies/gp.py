"""A Gaussian process on what the overview shows of each pixel and on where it lies: the default decision engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from autoscope.surrogates.features import FeatureTable
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.inducing import GrowingGaussianProcess, InducingGaussianProcess
from autoscope.surrogates.pool import home_of
from autoscope.surrogates.prior import Shape
from autoscope.surrogates.surrogate import Surrogate
from policies.field import FieldConfig
from policies.learning import LearningConfig, LearningPolicy

Columns = tuple[int, ...]
EXACT = 5
"""Measurements are exact up to so many for every two inducing points: there they cost a few times as much."""


class GaussianProcessConfig(LearningConfig):
    """Settings of the Gaussian-process policy."""

    features: Literal["coordinates", "image", "both"] = "both"
    """What the model sees of a pixel: its place, its neighbourhood in the overview, or both, added. With "both", the
    place alone takes over where the image turns out to tell nothing."""
    kernel: Shape = "matern52"
    measured_limit: PositiveInt = 1000
    """With so many measurements a process seen through inducing points takes over from the exact one, whose cost
    grows with the square of them; with more than 40,000 candidates somewhat sooner (640 from 100,000 on)."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where predictions over all candidates are computed; with "auto" on a GPU where there is one."""


class GaussianProcessPolicy(LearningPolicy):
    """GP on principal components of patches, local jets and coordinates, with an acquisition rule.

    Raises
    ------
    ModelError
        The device asked for is not there.
    """

    Config: ClassVar[type[FieldConfig]] = GaussianProcessConfig

    def __init__(self, config: GaussianProcessConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self.config = config
        home_of(config.device)  # a device that is not there is told of now, not at the first decision

    def _make_members(self, table: FeatureTable) -> Mapping[str, Surrogate]:
        groups = self._groups(table)
        members = {"gp": self._growing(groups)}
        if len(groups) > 1:
            members["coordinates"] = self._growing((table.place,))
        return members

    def _growing(self, groups: tuple[Columns, ...]) -> GrowingGaussianProcess:
        config = self.config
        return growing(groups, config.kernel, len(self._candidates), config.measured_limit, config.device)

    def _groups(self, table: FeatureTable) -> tuple[Columns, ...]:
        """Return column groups whose kernels are added: components of patches, jets, encoder, place."""
        image = tuple(group for group in (table.components, table.jets, table.encoder) if group)
        if self.config.features == "coordinates" or not image:
            return (table.place,)
        return image if self.config.features == "image" else (*image, table.place)

    def _columns(self, table: FeatureTable) -> Columns:
        return tuple(column for group in self._groups(table) for column in group)


def growing(
    groups: tuple[Columns, ...], kernel: Shape, candidates: int, limit: int, device: str = "cpu"
) -> GrowingGaussianProcess:
    """Return a process that is exact up to about ``limit`` measurements, and then seen through inducing points."""
    few, inducing = GaussianProcess(groups=groups, shape=kernel, device=device), inducing_points(candidates)
    many = InducingGaussianProcess(groups=groups, shape=kernel, inducing=inducing, device=device)
    return GrowingGaussianProcess(few, many, min(limit, EXACT * inducing // 2))


def inducing_points(candidates: int) -> int:
    """Return as many inducing points as give a posterior over all candidates in about the time 256 take for 100,000.

    Examples
    --------
    >>> inducing_points(1_000_000), inducing_points(50_000), inducing_points(1_000)
    (256, 362, 512)
    """
    return int(min(max(256 * (1e5 / max(candidates, 1)) ** 0.5, 256), 512))
