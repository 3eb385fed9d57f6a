"""Any instrument plug-in as an environment: one line of configuration changes the microscope."""

from __future__ import annotations

import numpy as np

from autoscope.config import ConfigModel, PluginConfig
from autoscope.protocols import Clock, Instrument
from autoscope.quantities import FROM_FILE
from autoscope.registry import load
from environments.base import InstrumentEnvironment
from environments.task import TaskConfig


class MicroscopeEnvironment(InstrumentEnvironment):
    """An environment around the instrument plug-in named in its configuration."""

    class Config(ConfigModel):
        """Which instrument, and what array actions mean."""

        instrument: PluginConfig
        task: TaskConfig = TaskConfig()

    def __init__(self, config: Config, *, clock: Clock | None = None, seed: int | None = None) -> None:
        plugin = load("instruments", config.instrument.name)
        options = plugin.Config.model_validate(config.instrument.options, context=FROM_FILE)

        def build(clock: Clock, rng: np.random.Generator) -> Instrument:
            instrument: Instrument = plugin(options, clock=clock, rng=rng)
            return instrument

        super().__init__(build, config.task, clock=clock, seed=seed)
