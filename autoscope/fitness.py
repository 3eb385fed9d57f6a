"""What a run asks of its instrument and of its images: conditions that hold it, metrics below which nothing counts."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from autoscope.conditions import threshold
from autoscope.config_model import ConfigModel
from autoscope.quantities import Duration, PositiveDuration, PositiveLength


class SuspenderConfig(ConfigModel):
    """A condition on what the instrument reads back, e.g. ``{reads: beam_current, below: 20 pA}``."""

    reads: str
    """``beam_current``, ``vacuum``, ``temperature``, ...: any number of the state."""
    below: str | None = None
    """The run is held while the reading is below this quantity ..."""
    above: str | None = None
    """... or above this one."""

    @model_validator(mode="after")
    def _has_limits(self) -> Self:
        if self.below is None and self.above is None:
            raise ValueError(f"a suspender needs a limit, e.g. '{{reads: {self.reads}, below: ...}}'")
        if not self.low <= self.high:
            raise ValueError("nothing lies between the limits")
        return self

    @property
    def low(self) -> float:
        """Lowest reading that holds nothing, SI."""
        return -math.inf if self.below is None else threshold(self.reads, self.below)

    @property
    def high(self) -> float:
        """Highest reading that holds nothing, SI."""
        return math.inf if self.above is None else threshold(self.reads, self.above)


class SuspendersConfig(ConfigModel):
    """When a run is held, beam blanked, and for how long at most."""

    conditions: tuple[SuspenderConfig, ...] = Field(min_length=1)
    poll_s: PositiveDuration = 10.0
    """How often the instrument is read back meanwhile."""
    settle_s: Duration = 30.0
    """How long all must be well before the run goes on."""
    longest_s: PositiveDuration = 7200.0
    """A run held longer has failed."""


class QualityConfig(ConfigModel):
    """Metrics an image must reach to be learnt from; one that does not is rejected, and the policy asks again."""

    min_contrast_snr: float = Field(default=0.0, ge=0)
    """Structure over noise in variance."""
    min_sharpness: float = Field(default=0.0, ge=0)
    """Mean square spatial frequency, (cycles/pixel)^2."""
    max_resolution_m: PositiveLength | None = None
    """Finest period that two halves of the image agree on (Fourier ring correlation)."""
