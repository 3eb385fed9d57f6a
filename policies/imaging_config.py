"""What the choice of place and exposure can be told."""

from __future__ import annotations

import math

from pydantic import Field, PositiveInt, model_validator

from autoscope.acquisition.exposure_choice import Per
from autoscope.config import ConfigModel, PluginConfig
from autoscope.quantities import Electrons, Length, PositiveCurrent, PositiveDuration, PositiveFluence, PositiveLength
from policies.field import OverviewConfig
from policies.imaging_model import Target
from policies.imaging_survey import SurveyConfig
from policies.imaging_worth import Goal, Wanted

SIGNIFICANT = 2.0
"""Starting looks that show less than this many standard deviations make the next ones longer."""
GROWTH = 1.2
"""Hyperparameters are relearnt when the number of looks has grown by this factor, or by ``refit_every``."""
MOST_BINNED = 16
"""Side of the largest square that may be summed."""
WORDS: dict[Per, str] = {"electron": "electron", "second": "second", "both": "electron and second"}


class ImagingConfig(ConfigModel):
    """Settings of the choice of place and exposure."""

    target: str = Field(min_length=1)
    """Name of the scalarized target to learn from."""
    scaling: Target = "counts"
    """"counts": the target grows with the dose and is compared per electron; "intensive": a ratio or an energy."""
    goal: Goal = "maximise"
    """Find the highest or the lowest place and confirm its value, or map the field."""
    precision: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Standard deviation wanted of the best value, relative to it (of the lowest: to the range); or error of the map
    relative to its range. Then the run is over. Absent: when the budget ends."""
    indifference: float = Field(default=0.2, ge=0.0, lt=1.0)
    """A place within this share of the best value is as good as the best."""
    certainty: float = Field(default=1.5, gt=0.0, le=6.0)
    """How surely no other place may be better before one is named, in standard deviations of the difference."""
    overview: OverviewConfig = OverviewConfig()
    stride_px: PositiveInt = 1
    """Only every so many-th overview pixel is a candidate."""
    signals: tuple[str, ...] = ()
    """Spectrum signals to record; none given means all the instrument has."""
    dwells_s: tuple[PositiveDuration, ...] = Field(default=(1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3), min_length=1)
    """Dwell times to choose from; a single one fixes the exposure."""
    currents_a: tuple[PositiveCurrent, ...] = ()
    """Beam currents to choose from; none given means the one that is set."""
    defoci_m: tuple[Length, ...] = (0.0,)
    """Defoci to choose from, from the focus in which the overview was taken: a wide probe spreads its electrons over a
    larger area and averages over it."""
    binnings: tuple[PositiveInt, ...] = (1,)
    """Sides, in pixels of the overview, of the squares a look may scan and sum: a square spreads its electrons and
    averages. The dwell time is that of the whole square."""
    scalarizer: PluginConfig | None = None
    """What makes the target of a summed spectrum, as under ``scalarizers``; needed with binnings above 1."""
    patience: float = Field(default=0.2, ge=0.0, lt=1.0)
    """A longer look is preferred if it gives up at most this share of worth per cost: fewer acts for the same."""
    repeats: bool = True
    """Whether a place may be looked at again."""
    per: Per = "electron"
    """What a look has to pay: electrons, seconds, or both."""
    second_worth_e: Electrons = 1e8
    """With "both": how many electrons one second of the instrument is worth."""
    critical_dose_e_per_m2: PositiveFluence | None = None
    """Fluence at which 1/e of what is looked for is left; absent: it endures."""
    dose_share: float = Field(default=0.5, gt=0.0, le=3.0)
    """No place is given more than this share of the critical fluence."""
    exposed_m: PositiveLength = 20e-9
    """Side of the area over which the electrons of a look spread in what they destroy."""
    survey: SurveyConfig | None = None
    """A fast spectrum image before the first single look."""
    initial: int = Field(default=12, ge=2)
    """Looks at places unlike each other before the model decides."""
    patch_px: PositiveInt = 7
    """Side of the image patch that describes a pixel."""
    refit_every: PositiveInt = 10
    """Relearn hyperparameters after so many looks, or after a fifth more if that is more."""

    @model_validator(mode="after")
    def _each_once(self) -> ImagingConfig:
        for name, values in (("dwells", self.dwells_s), ("currents", self.currents_a), ("defoci", self.defoci_m)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: a value is given twice")
        if len(set(self.binnings)) < len(self.binnings) or 1 not in self.binnings or max(self.binnings) > MOST_BINNED:
            raise ValueError(f"binnings: 1 is missing, a value is given twice, or one is above {MOST_BINNED}")
        if max(self.binnings) > 1 and self.scalarizer is None:
            raise ValueError("binnings: a summed spectrum needs a scalarizer of its own, under 'scalarizer'")
        if 0.0 not in self.defoci_m:
            raise ValueError("defoci: 0 m is missing; looks in focus are always possible")
        return self

    @property
    def critical(self) -> float:
        """The critical fluence, infinite where the specimen endures."""
        return math.inf if self.critical_dose_e_per_m2 is None else self.critical_dose_e_per_m2

    @property
    def wanted(self) -> Wanted:
        """What the run is for."""
        return Wanted(self.goal, self.precision, self.indifference, self.certainty, WORDS[self.per])

    @property
    def blurs_m(self) -> tuple[float, ...]:
        """The defoci by number: 0 is in focus."""
        return (0.0, *sorted(f for f in self.defoci_m if f))

    @property
    def footprints(self) -> tuple[tuple[float, int], ...]:
        """Every defocus with every binning, by number: 0 is a single pixel in focus."""
        return tuple((defocus_m, binning) for binning in sorted(self.binnings) for defocus_m in self.blurs_m)
