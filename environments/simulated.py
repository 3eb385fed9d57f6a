"""The simulated microscope on a simulated specimen, as an environment."""

from __future__ import annotations

from autoscope.config import ConfigModel
from autoscope.protocols import Clock
from environments.base import InstrumentEnvironment
from environments.instruments.simulated import SimulatedInstrument
from environments.task import TaskConfig


class SimulatedEnvironment(InstrumentEnvironment):
    """A simulated night: specimen, column, stage, drift and detectors from one seed."""

    class Config(ConfigModel):
        """The microscope with its specimens, and what array actions mean."""

        microscope: SimulatedInstrument.Config = SimulatedInstrument.Config()
        task: TaskConfig = TaskConfig()

    def __init__(self, config: Config, *, clock: Clock | None = None, seed: int | None = None) -> None:
        super().__init__(
            lambda c, rng: SimulatedInstrument(config.microscope, clock=c, rng=rng), config.task, clock=clock, seed=seed
        )
