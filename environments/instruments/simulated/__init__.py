"""A simulated scanning transmission electron microscope, and the parameters of its parts."""

from environments.instruments.simulated.config import (
    CarouselConfig,
    CorrectorConfig,
    DetectorConfig,
    DoseConfig,
    DriftConfig,
    FaultConfig,
    FaultsConfig,
    GunConfig,
    HolderConfig,
    LensConfig,
    MemoryConfig,
    MicroscopeConfig,
    ScanConfig,
    StageConfig,
)
from environments.instruments.simulated.instrument import SimulatedInstrument
from environments.instruments.simulated.memory import LogRecord

__all__ = [
    "CarouselConfig",
    "CorrectorConfig",
    "DetectorConfig",
    "DoseConfig",
    "DriftConfig",
    "FaultConfig",
    "FaultsConfig",
    "GunConfig",
    "HolderConfig",
    "LensConfig",
    "LogRecord",
    "MemoryConfig",
    "MicroscopeConfig",
    "ScanConfig",
    "SimulatedInstrument",
    "StageConfig",
]
