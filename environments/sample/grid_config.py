"""What a simulated TEM grid can be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from autoscope.quantities import PositiveLength
from environments.sample.catalyst_config import CatalystConfig
from environments.sample.height import HeightConfig
from environments.sample.layered import LayeredConfig


class GridConfig(LayeredConfig):
    """A copper grid with a film of supported catalyst over its squares, some of them of no use."""

    kind: Literal["grid"] = "grid"
    diameter_m: PositiveLength = 3.05e-3
    pitch_m: PositiveLength = 85e-6
    """Distance between the middles of neighbouring squares (85 um: 300 mesh)."""
    square_m: PositiveLength = 50e-6
    """Side of a square."""
    bar_thickness_m: PositiveLength = 5e-6
    """Of the copper between them."""
    empty: float = Field(default=0.1, ge=0, le=1)
    """Share of squares without film."""
    broken: float = Field(default=0.15, ge=0, le=1)
    """Share of squares whose film is torn."""
    blocked: float = Field(default=0.1, ge=0, le=1)
    """Share of squares under a thick layer that lets nothing be seen."""
    content: CatalystConfig = CatalystConfig(density_per_m2=5e12)
    """What lies on the film; its extent is that of a square."""
    height: HeightConfig = HeightConfig(tilt_x_rad=0.01, tilt_y_rad=-0.006, bump_m=1.5e-6, bump_length_m=2e-4)

    @model_validator(mode="after")
    def _fits(self) -> GridConfig:
        if not self.square_m < self.pitch_m < self.diameter_m:
            raise ValueError("a grid needs square < pitch < diameter")
        if self.empty + self.broken + self.blocked > 1.0:
            raise ValueError("empty, broken and blocked are shares of all squares: together at most 1")
        return self

    @property
    def extent_m(self) -> tuple[float, float]:
        """Width and height."""
        return self.diameter_m, self.diameter_m
