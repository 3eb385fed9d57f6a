"""A stored spectrum image as an environment: every answer is the stored spectrum of the pixel asked for."""

from __future__ import annotations

from typing import Literal, Self

from autoscope.config import ConfigModel
from autoscope.protocols import Clock
from environments.base import InstrumentEnvironment
from environments.instruments.replay import ReplayInstrument
from environments.task import TaskConfig


class ReplayEnvironment(InstrumentEnvironment):
    """Replays measured data through the same protocol as a live instrument."""

    class Config(ConfigModel):
        """The stored data, and what array actions mean."""

        data: ReplayInstrument.Config
        task: TaskConfig = TaskConfig()

        def as_control(self, control: Literal["shuffled_labels", "meaningless_image"]) -> Self:
            """Return the same data as a negative control, on which nothing can be learnt from the image."""
            known = {"shuffled_labels": {"labels": "shuffled"}, "meaningless_image": {"image": "meaningless"}}
            return self.replace(data=self.data.replace(alter=self.data.alter.replace(**known[control])))

    def __init__(self, config: Config, *, clock: Clock | None = None, seed: int | None = None) -> None:
        super().__init__(
            lambda c, rng: ReplayInstrument(config.data, clock=c, rng=rng), config.task, clock=clock, seed=seed
        )
