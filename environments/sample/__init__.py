"""The simulated specimen and its physics."""

from environments.sample.build import SpecimenConfig, build_specimen
from environments.sample.catalyst_config import CatalystConfig
from environments.sample.crystal2d import Crystal2dConfig
from environments.sample.nanoparticles import NanoparticlesConfig
from environments.sample.specimen import Specimen

__all__ = [
    "CatalystConfig",
    "Crystal2dConfig",
    "NanoparticlesConfig",
    "Specimen",
    "SpecimenConfig",
    "build_specimen",
]
