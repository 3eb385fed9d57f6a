"""What a person may say about the twin: which specimen, where it runs, which virtual detectors."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from autoscope.config import ConfigModel
from autoscope.quantities import Angle, PositiveCurrent, PositiveDuration, PositiveLength

PROBE_STEPS = 4
"""Masks that a DE-Server takes from a client."""


class Annulus(ConfigModel):
    """A virtual detector: the electrons scattered to angles between two limits."""

    inner_rad: Angle = 0.0
    outer_rad: Angle

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0.0 <= self.inner_rad < self.outer_rad:
            raise ValueError(f"the inner angle {self.inner_rad!r} must be at least 0 and below the outer one")
        return self


class PatternConfig(ConfigModel):
    """The diffraction patterns of `Measure` and `SpectrumImage`."""

    name: str = "4D"
    side_px: Literal[32, 64, 128, 256] = 64
    """Patterns are binned to this many rows and columns."""


class ServerConfig(ConfigModel):
    """Where ``de-twin serve --soap PORT --deapi PORT`` runs (or DE-TEM-Channel and DE-Server)."""

    host: str = "127.0.0.1"
    soap_port: PositiveInt = 5002
    deapi_port: PositiveInt = 13240
    timeout_s: PositiveDuration = 30.0
    """Longest wait for one answer."""
    beam_current_a: PositiveCurrent = 30e-12
    """The services do not tell the probe current; dose is counted with this one."""


class DetwinConfig(ConfigModel):
    """The twin and how it is reached."""

    server: ServerConfig | None = None
    """None: the twin runs inside this process, on autoscope's clock."""
    specimen: str = "Dense Au on holey C"
    """In process: a preset or pattern of ``de-twin list``."""
    camera: str = "DESim"
    corrector: Literal["none", "probe"] = "probe"
    camera_length_m: PositiveLength = 0.03
    """A rung of the ladder 15 ... 1000 mm; decides which angles the camera sees."""
    detectors: dict[str, Annulus] = Field(
        default={
            "HAADF": Annulus(inner_rad=0.06, outer_rad=0.16),
            "ADF": Annulus(inner_rad=0.025, outer_rad=0.06),
            "BF": Annulus(outer_rad=0.022),
        },
        min_length=1,
        max_length=PROBE_STEPS,
    )
    """Virtual detectors by name, at most four."""
    pattern: PatternConfig = PatternConfig()
    coherent: bool = False
    """In process: interference in the patterns (ptychography), at a thousand times the cost."""
    noise: bool = True
    """In process: Poisson counts; False gives expected counts."""
    stage_timeout_s: PositiveDuration = 120.0
    max_frame_bytes: PositiveInt = 512_000_000
