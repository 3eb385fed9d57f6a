"""What a simulated catalyst can be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from autoscope.config import ConfigModel
from autoscope.errors import ConfigError
from autoscope.quantities import PositiveLength, Quantity
from environments.sample.damage import DamageConfig, Thickness
from environments.sample.height import HeightConfig
from environments.sample.layered import LayeredConfig
from environments.sample.materials import element

PerArea = Annotated[float, Quantity("m^-2", low=0.0)]
"""A number per area, typed as ``20 um^-2``; zero allowed."""


class HolesConfig(ConfigModel):
    """Round holes on a jittered square lattice."""

    pitch_m: PositiveLength = 2.5e-6
    radius_m: PositiveLength = 3.5e-7
    jitter: float = Field(default=0.25, ge=0, le=1)
    """Displacement and radius vary by this share of the pitch and the radius (uniformly, both ways)."""

    @model_validator(mode="after")
    def _film_is_left(self) -> HolesConfig:
        if 2.0 * self.radius_m >= self.pitch_m:
            raise ValueError("the holes leave no film: radius must be less than half the pitch")
        return self


class SupportConfig(ConfigModel):
    """The carbon film."""

    thickness_m: PositiveLength = 1.5e-8
    holes: HolesConfig | None = HolesConfig()
    patch_m: Thickness = 1.2e-8
    """Typical thickness of contamination patches."""
    patch_length_m: PositiveLength = 1.5e-6
    """Lateral size of the patches."""
    patch_share: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the film under a patch."""


class RareConfig(ConfigModel):
    """The particles worth finding."""

    structure: Literal["alloy", "core_shell"] = "alloy"
    """"alloy": homogeneous; "core_shell": an alloy core under a shell of the common metal."""
    element: str = "Co"
    atomic_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Of the rare element in the alloy (the core)."""
    core_radius_fraction: float = Field(default=0.75, gt=0, lt=1)
    fraction: float = Field(default=0.01, ge=0, le=0.5)
    """Expected share of the particles that are rare."""
    size_factor: float = Field(default=1.1, gt=0.3, le=3)
    """Radius of a rare particle relative to what it would have been."""
    clustering: float = Field(default=1.0, ge=0, le=3)
    """Log-odds per standard deviation of a smooth field; 0 scatters rare particles independently."""
    cluster_length_m: PositiveLength = 2e-6
    context: float = Field(default=0.5, ge=-1, le=1)
    """Correlation of that field with the one that sets the visible particle density."""


class CatalystConfig(LayeredConfig):
    """A supported catalyst."""

    kind: Literal["catalyst"] = "catalyst"
    extent_m: tuple[PositiveLength, PositiveLength] = (2e-5, 2e-5)
    metal: str = "Pt"
    density_per_m2: PerArea = 2e13
    """Mean number of particles per area of film."""
    radius_m: PositiveLength = 5e-9
    """Median radius."""
    radius_spread: float = Field(default=0.2, ge=0, le=0.6)
    """Standard deviation of the logarithm of the radius."""
    density_contrast: float = Field(default=0.6, ge=0, le=2)
    """Standard deviation of the logarithm of the local density."""
    density_length_m: PositiveLength = 2e-6
    """Lateral size of dense and sparse regions."""
    support: SupportConfig = SupportConfig()
    rare: RareConfig = RareConfig()
    height: HeightConfig = HeightConfig(tilt_x_rad=0.01, tilt_y_rad=-0.006, bump_m=6e-8, bump_length_m=4e-6)
    damage: DamageConfig = DamageConfig(critical_dose_e_per_m2={"Co": 1e28, "Ni": 1e28})

    @model_validator(mode="after")
    def _known_elements(self) -> CatalystConfig:
        for symbol in (self.metal, self.rare.element):
            try:
                element(symbol)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        if self.metal == self.rare.element:
            raise ValueError("the rare element must differ from the metal")
        return self
