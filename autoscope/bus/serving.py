"""What a server serves: one YAML file beside the instrument, which the agent neither sees nor changes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from autoscope.config import ConfigModel, LimitsConfig, PluginConfig
from autoscope.quantities import Electrons, PositiveDuration, PositiveFluence, PositiveLength


class DoseConfig(ConfigModel):
    """What samples may receive, counted over all runs and restarts."""

    sample: str = ""
    """Name of the sample: another name starts another count. Slots of a carousel are counted apart."""
    max_dose_e: Electrons | None = None
    """Electrons on one sample in total."""
    max_area_e_per_m2: PositiveFluence | None = None
    """Fluence that no place of a sample may pass, averaged over cells of a map of the stage."""
    area_cell_m: PositiveLength = 100e-9
    """Side of those cells."""


class WatchConfig(ConfigModel):
    """When silence makes safe."""

    lease_s: PositiveDuration = 5.0
    """How long an agent may be silent before the beam is blanked."""
    silence_s: PositiveDuration = 0.5
    """How long server and watchdog may be silent to each other before either blanks."""
    idle_s: PositiveDuration = 600.0
    """How long an unblanked beam may rest with nobody asking for anything."""
    grace_s: PositiveDuration = 30.0
    """An act may take this much longer than predicted ..."""
    slack: float = Field(default=3.0, ge=1.0)
    """... times this, before the driver counts as hung."""


class ServeConfig(ConfigModel):
    """One instrument at the far end of the bus: its plug-in, and the protection beside it."""

    job: Literal["serve"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")
    """Of the folder that holds the ledger."""
    instrument: PluginConfig
    serial: str | None = None
    """These limits belong to the instrument with this serial number and to no other."""
    seed: NonNegativeInt = 0
    """Of a simulated instrument."""
    clock: Literal["system", "simulated"] = "system"
    """"simulated": a simulated instrument's time jumps to the next event, and agents follow it."""
    limits: LimitsConfig = LimitsConfig()
    dose: DoseConfig = DoseConfig()
    watch: WatchConfig = WatchConfig()
    keep_bytes: PositiveInt = 2 * 1024**3
    """Bytes of frames kept until the agent has acknowledged them."""
