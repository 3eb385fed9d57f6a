"""What an overnight survey is told."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from autoscope.config import ConfigModel, PluginConfig
from autoscope.perception.drift import DriftConfig
from autoscope.perception.regions import ParticleConfig
from autoscope.quantities import Length, PositiveDuration, PositiveEnergy, PositiveLength
from autoscope.records import Measure, Scan
from policies.focus import FocusConfig

Order = Literal["serpentine", "travel", "value"]
MAX_TILES = 20_000
"""More tiles than any night can see: a slip of units."""


class AreaConfig(ConfigModel):
    """The rectangle to survey, in stage coordinates."""

    x_m: tuple[Length, Length] = (-10e-6, 10e-6)
    y_m: tuple[Length, Length] = (-10e-6, 10e-6)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.x_m[0] >= self.x_m[1] or self.y_m[0] >= self.y_m[1]:
            raise ValueError("an area needs its lower bound first, e.g. x: [-10 um, 10 um]")
        return self


class TileConfig(ConfigModel):
    """The overview image of one field of the survey."""

    fov_m: PositiveLength = 1.5e-6
    size_px: PositiveInt = 512
    dwell_s: PositiveDuration = 2e-6
    overlap: float = Field(default=0.05, ge=0, lt=0.5)
    """Share of a tile's width that it has in common with its neighbour."""
    detectors: tuple[str, ...] = ("HAADF", "BF")
    """The first one is searched for particles; all are recorded in the same scan."""

    def scan(self) -> Scan:
        """Return the scan of a tile."""
        return Scan(
            fov_m=self.fov_m,
            width_px=self.size_px,
            height_px=self.size_px,
            dwell_s=self.dwell_s,
            detectors=self.detectors,
        )


class KeepFocusConfig(FocusConfig):
    """Focus series, and when one is worth its time."""

    fov_m: PositiveLength = 1e-6
    size_px: int = Field(default=384, ge=32)
    span_m: PositiveLength = 0.6e-6
    tolerance_m: PositiveLength = 110e-9
    """A tile gets a focus series where the height map is less certain than this."""
    map_length_m: PositiveLength = 6e-6
    """Expected lateral size of the sample's bumps."""
    map_amplitude_m: PositiveLength = 200e-9
    """Expected height of the sample's bumps."""
    pairs: bool = True
    """Later series are two images that are made alike (defocus and both astigmatisms at once), else of sharpness."""
    stigmator_m: PositiveLength = 50e-9
    """Astigmatism expected; more than this, if surely seen, is corrected with the focus."""
    first_span_m: PositiveLength = 1.5e-6
    """Span of the very first series; later ones use ``span`` around the height map's prediction."""


class AlignConfig(ConfigModel):
    """The image that finds a tile's particles again, and how often it is taken."""

    fov_m: PositiveLength = 1e-6
    size_px: PositiveInt = 256
    dwell_s: PositiveDuration = 2e-6
    detector: str = "HAADF"
    drift: DriftConfig = DriftConfig()
    """What drift is expected before any is seen."""
    keep_within_m: PositiveLength = 1e-9
    """The image is taken again when the drift model knows the place less surely than this (standard deviation)."""
    at_most_every_s: PositiveDuration = 300.0
    """... and at the latest after this time, whatever the model believes."""
    smear_m: PositiveLength = 3e-9
    """A spectrum waits until the stage creeps less than this during its dwell."""
    reach_m: PositiveLength = 150e-9
    """Largest displacement from where the drift model expects the particles (stage error and backlash)."""
    wide_fov_m: PositiveLength = 4e-6
    """Field of the image that finds the place again after a jump, or where a lattice looks alike everywhere."""
    wide_size_px: PositiveInt = 1024
    wide_tolerance_m: PositiveLength = 20e-9
    """How far a particle may be from where the displacement says in a wide image: the scan's own distortion counts."""
    wide_confidence: float = Field(default=0.08, gt=0, le=1)
    """A wide image may show mostly what has not been seen before."""
    wide_reach_m: PositiveLength = 6e-6
    """Largest jump from which the place is found again."""
    tolerance_m: PositiveLength = 5e-9
    """How far a particle may be from where the displacement says."""
    min_confidence: float = Field(default=0.3, ge=0, le=1)
    """A tile whose particles are not found again with this confidence is left alone."""

    def scan(self) -> Scan:
        """Return the scan of the alignment image."""
        return Scan(
            fov_m=self.fov_m,
            width_px=self.size_px,
            height_px=self.size_px,
            dwell_s=self.dwell_s,
            detectors=(self.detector,),
        )

    def wide_scan(self) -> Scan:
        """Return the scan at lower magnification that finds a lost place again."""
        return self.scan().replace(fov_m=self.wide_fov_m, width_px=self.wide_size_px, height_px=self.wide_size_px)


class PresenceConfig(ConfigModel):
    """How a spectrum that missed its particle is told from one of a particle without the target."""

    target: str
    """Name of a scalarizer that every particle must show, e.g. counts of the common metal."""
    at_least: float = Field(gt=0)
    """A spectrum with less is a miss: the tile is imaged again and the particle tried once more."""


class ExampleConfig(ConfigModel):
    """A place that an operator has pointed at: what is there is what is looked for, or is not."""

    x_m: Length
    """In stage coordinates."""
    y_m: Length
    interesting: bool = True


class GateConfig(ConfigModel):
    """What an image must be like to be learnt from, and how often it is taken again."""

    min_snr: float = Field(default=1.0, ge=0)
    """Mean over noise of the image, as in the record (``snr_estimate``)."""
    dim: float = Field(default=0.35, ge=0, lt=1)
    """An image darker than this part of what is usual for its kind, by its mean or by its noise, is taken again."""
    glaring: float = Field(default=3.0, gt=1)
    """An image brighter than this many times what is usual is taken again."""
    max_drift_px: float | None = Field(default=1.0, gt=0)
    """How far the sample may move while an image of known particles is written, in pixels of it; null: not asked."""
    repeats: int = Field(default=2, ge=0)
    """At most so often; then it is taken as it is, but places only from one in which the sample stood still."""


class ScreenConfig(ConfigModel):
    """A short look at every particle, and the full dwell only where the look leaves doubt.

    Scaled with the dwell are targets in counts; others are taken as they are.
    """

    miss: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance at most to pass over an interesting particle."""
    from_s: PositiveDuration = 0.25
    """Shortest look."""
    learn: PositiveInt = 50
    """Spectra of full dwell from which the length of the look is learnt, and after which it is learnt again."""


class FinishConfig(ConfigModel):
    """What is done with the time and dose that are left when every particle was looked at; it has an end of its own."""

    confirm: int = Field(default=10, ge=0)
    """The best finds that stand out, measured again; 0: none."""
    snr: float = Field(default=50.0, gt=0)
    """Signal to noise of the mean target of a find from which it is confirmed."""
    spectra: PositiveInt = 8
    """At most so many more spectra of full dwell for each."""
    try_again: bool = True
    """Particles and tiles given up are tried once more, after the finds are confirmed."""


class InDepthConfig(ConfigModel):
    """A campaign of another policy inside each of the best finds, when they are confirmed."""

    policy: PluginConfig
    """A policy for one field of view, e.g. ``imaging`` or ``deep_kernel``; its overview is centred on the particle."""
    finds: PositiveInt = 3
    """So many of the best that stand out."""
    time_s: PositiveDuration = 300.0
    """At most, for each."""


class TaskConfig(ConfigModel):
    """How often something is done for the instrument; between two sites, never while one is measured."""

    every_s: PositiveDuration | None = None
    """... when this time has passed since it was last done."""
    every_tiles: PositiveInt | None = None
    """... when the stage has been to so many tiles since."""

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.every_s is None and self.every_tiles is None:
            raise ValueError("say how often: every (a time), every_tiles, or both (whichever comes first)")
        return self


class ZeroLossConfig(TaskConfig):
    """Zero-loss alignment: a short spectrum between the particles, and the spectrometer's offset corrected by it."""

    kind: Literal["zero_loss"]
    signal: str = "EELS"
    """The spectrum whose axis holds the zero-loss peak."""
    dwell_s: PositiveDuration = 0.05
    tolerance_ev: PositiveEnergy = 0.05
    """A peak surely further from zero than this is corrected."""


class DarkReferenceConfig(TaskConfig):
    """Dark references: detectors read out with the beam kept away, to be subtracted from all that follows."""

    kind: Literal["dark_reference"]
    signals: tuple[str, ...] | None = None
    """Absent: those that the survey measures."""
    detectors: tuple[str, ...] | None = None
    """Absent: those of its tiles."""
    frames: int = Field(default=16, ge=2)
    """So many are averaged."""
    dwells_s: tuple[PositiveDuration, ...] = ()
    """Of spectra; absent: the shortest and the longest that the survey uses. What lies between follows from both."""
    image_dwells_s: tuple[PositiveDuration, ...] = ()
    """The same of images."""
    size_px: PositiveInt = 64
    """Side of an image without beam: all pixels are made by one detector, so a small one is enough."""

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.signals == () and self.detectors == ():
            raise ValueError("a dark reference needs signals or detectors; leave them out for those of the survey")
        return self


UpkeepConfig = Annotated[ZeroLossConfig | DarkReferenceConfig, Field(discriminator="kind")]


class SurveyConfig(ConfigModel):
    """An area, how it is imaged, what is measured, and how the time is shared."""

    target: str
    """Name of the scalarizer whose high values make a particle interesting."""
    strategy: Literal["agent", "in_order"] = "agent"
    """``agent``: a model ranks the particles and the stage returns to the best tiles; ``in_order``: every
    particle of every tile in the order found (the segment-and-visit survey, a baseline)."""
    area: AreaConfig = AreaConfig()
    areas: tuple[AreaConfig, ...] = Field(default=(), exclude_if=lambda areas: not areas)
    """Several rectangles, in place of ``area``."""
    order: Order = Field(default="serpentine", exclude_if=lambda order: order == "serpentine")
    """In which tiles are seen first. ``serpentine``: area after area as given; ``travel``: areas in the order of the
    shortest way; ``value``: chosen by the agent, coarse to fine and then where most is expected, for when there is
    not time for all."""
    tile: TileConfig = TileConfig()
    particles: ParticleConfig = ParticleConfig()
    signals: tuple[str, ...] = ("EDS",)
    point_detectors: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Image detectors read in the same dwell as every spectrum, e.g. ``[HAADF, BF]``."""
    dwell_s: PositiveDuration = 5.0
    """Dwell time of one spectrum."""
    screen: ScreenConfig | None = None
    """Absent: every particle gets a spectrum of full dwell."""
    focus: KeepFocusConfig = KeepFocusConfig()
    scouts: int = Field(default=4, ge=0)
    """Particles measured in each tile right after its overview, chosen to be unlike each other."""
    visit: PositiveInt = 16
    """Particles measured at most in one later visit to a tile."""
    overview_share: float = Field(default=0.5, gt=0, le=1)
    """Overviews (with focus and scouts) may take this share of the time budget."""
    align: AlignConfig = AlignConfig()
    gate: GateConfig = GateConfig()
    examples: tuple[ExampleConfig, ...] = ()
    """A few places of interest, and not: particles that look alike come first."""
    example_reach_m: PositiveLength = 100e-9
    """The particle nearest to an example is meant, if it is no further than this."""
    presence: PresenceConfig | None = None
    finish: FinishConfig = Field(default=FinishConfig(), exclude_if=lambda finish: finish == FinishConfig())
    """What is left to do when all particles were looked at; not for ``in_order``."""
    in_depth: InDepthConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Absent: no find is gone into."""
    upkeep: tuple[UpkeepConfig, ...] = Field(default=(), exclude_if=lambda tasks: not tasks)
    """What is done for the instrument every now and then."""
    beta: float = Field(default=1.0, ge=0)
    """Exploration: a particle is worth its chance of being interesting plus this many standard deviations of it."""
    settle_from: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda share: share == 0.0)
    """When less than this share of the budget is left, exploration shrinks with what is left, to nothing at the end:
    the last measurements go to the best known. 0: it never does."""
    interest_length_m: PositiveLength = 2e-6
    """Distance over which the share of interesting particles is expected to change."""
    fit_points: PositiveInt = 600
    """Measurements the model knows: all of them up to here, then all finds and a sample of the others."""
    refit_every: PositiveInt = 50
    """Measurements between fits."""

    def probe(self, x_m: float, y_m: float, dwell_s: float) -> Measure:
        """Return the spectrum of a point at an offset from the axis."""
        detectors = self.point_detectors
        return Measure(x_m=x_m, y_m=y_m, dwell_s=dwell_s, signals=self.signals, detectors=detectors)

    @property
    def all_areas(self) -> tuple[AreaConfig, ...]:
        """The rectangles to survey."""
        return self.areas or (self.area,)

    @model_validator(mode="after")
    def _in_one_night(self) -> Self:
        pitch_m = self.tile.fov_m * (1 - self.tile.overlap)
        tiles = sum(math.prod((high - low) / pitch_m for low, high in (a.x_m, a.y_m)) for a in self.all_areas)
        if tiles > MAX_TILES:
            raise ValueError(
                f"the area needs {tiles:.3g} tiles, more than {MAX_TILES}; check its units or raise tile.fov"
            )
        return self
