"""What a survey of several magnifications is told."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from autoscope.config import ConfigModel
from autoscope.perception.regions import ParticleConfig
from autoscope.quantities import PositiveDuration, PositiveLength
from autoscope.records import Action, Measure, Scan
from policies.survey.config import AreaConfig, InDepthConfig, KeepFocusConfig, TileConfig


class SquaresConfig(ConfigModel):
    """Squares of a grid, told by their film from empty, torn and blocked ones."""

    kind: Literal["squares"] = "squares"
    size_m: PositiveLength = 50e-6
    """Side of a square."""
    whole: float = Field(default=0.9, gt=0, le=1)
    """A square with film on less than this share of it is torn or empty."""


class FieldsConfig(ConfigModel):
    """Fields of a square, most even film first."""

    kind: Literal["fields"] = "fields"
    fov_m: PositiveLength = 2e-6
    """Side of a field."""


class ParticlesConfig(ParticleConfig):
    """Particles of a field, largest first."""

    kind: Literal["particles"] = "particles"


class LookConfig(ConfigModel):
    """The image of one place of a level."""

    fov_m: PositiveLength
    size_px: PositiveInt = 256
    dwell_s: PositiveDuration = 2e-6
    detectors: tuple[str, ...] = ("HAADF",)
    """The first one is searched for the places of the next level."""


class ProbeConfig(ConfigModel):
    """A spectrum at one place of the last level."""

    dwell_s: PositiveDuration = 1.0
    signals: tuple[str, ...] = ("EDS",)
    detectors: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Image detectors read in the same dwell, e.g. ``[HAADF, BF]``."""


class LevelConfig(ConfigModel):
    """One magnification."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,30}$")
    look: LookConfig | None = None
    """An image; absent: a spectrum, only in the last level."""
    measure: ProbeConfig | None = None
    """A spectrum at every place of this level, after its image."""
    find: SquaresConfig | FieldsConfig | ParticlesConfig | None = Field(default=None, discriminator="kind")
    """What is looked for in the image: the places of the next level."""
    keep: PositiveInt = 4
    """So many of the places found in one image are looked at, most valuable first."""
    by: Literal["stage", "beam"] = "stage"
    """How a place of this level is reached: by the stage, or by deflecting the beam from where the stage stands."""
    focus: bool = False
    """Whether places are brought into focus on arrival, as far as the height map says."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.look is None and self.measure is None:
            raise ValueError(f"level {self.name} needs 'look' or 'measure'")
        if self.find is not None and self.look is None:
            raise ValueError(f"level {self.name} finds nothing without 'look'")
        return self

    def act(self, x_m: float, y_m: float) -> Action:
        """Return the image of a place at an offset from the axis, or its spectrum where there is none."""
        look = self.look
        if look is None:
            return self.probe(x_m, y_m)
        return Scan(
            fov_m=look.fov_m,
            width_px=look.size_px,
            height_px=look.size_px,
            dwell_s=look.dwell_s,
            centre_x_m=x_m,
            centre_y_m=y_m,
            detectors=look.detectors,
        )

    def probe(self, x_m: float, y_m: float) -> Measure:
        """Return the spectrum of a place at an offset from the axis."""
        probe = self.measure or ProbeConfig()
        return Measure(x_m=x_m, y_m=y_m, dwell_s=probe.dwell_s, signals=probe.signals, detectors=probe.detectors)


class LevelsConfig(ConfigModel):
    """Magnifications from the widest to the closest."""

    target: str | None = None
    """Name of a scalarizer: places below one that gave high values are preferred."""
    area: AreaConfig
    """What the images of the first level cover."""
    overlap: float = Field(default=0.05, ge=0, lt=0.5)
    levels: tuple[LevelConfig, ...] = Field(min_length=1)
    focus: KeepFocusConfig = KeepFocusConfig()
    in_depth: InDepthConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """A campaign of another policy inside each of the best finds of the last level; absent: none."""
    explore: float = Field(default=0.5, ge=0)
    """How much a branch is preferred of which little is known."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        first, *others = self.levels
        if first.look is None:
            raise ValueError("the first level needs 'look': its images cover the area")
        for before, level in zip(self.levels, others):
            if before.find is None:
                raise ValueError(f"level {before.name} needs 'find': it says where the places of {level.name} are")
        if first.by == "beam":
            raise ValueError("the first level is reached by the stage")
        if len({level.name for level in self.levels}) < len(self.levels):
            raise ValueError("two levels have the same name")
        if self.in_depth is not None:
            self._allows_campaigns()
        return self

    def _allows_campaigns(self) -> None:
        if self.target is None or self.levels[-1].measure is None:
            raise ValueError(
                "in_depth needs a 'target' and, in the last level, 'measure': the best values are gone into"
            )
        if len(self.levels) < 2:
            raise ValueError("in_depth needs two levels: finds are found again in the image that showed them")

    def tile(self) -> TileConfig:
        """Return the images of the first level as tiles."""
        look = self.levels[0].look
        assert look is not None  # noqa: S101 - the validator's word
        return TileConfig(fov_m=look.fov_m, size_px=look.size_px, overlap=self.overlap)
