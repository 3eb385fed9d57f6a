"""Gymnasium ids: ``import environments``, then ``gymnasium.make("autoscope/Simulated-v0")``."""

from __future__ import annotations

from typing import Any

import gymnasium

from autoscope.protocols import Environment
from autoscope.quantities import FROM_FILE
from autoscope.registry import load

IDS = {
    "autoscope/Microscope-v0": "microscope",
    "autoscope/Simulated-v0": "simulated",
    "autoscope/Replay-v0": "replay",
}


def register() -> None:
    """Register every environment under the ``autoscope`` namespace."""
    for identity, name in IDS.items():
        gymnasium.register(
            id=identity, entry_point="environments.registration:make", kwargs={"name": name}, max_episode_steps=200
        )


def make(name: str, *, seed: int | None = None, **options: Any) -> Environment:
    """Make an environment by its plug-in name from options as they are written in a configuration.

    Parameters
    ----------
    name : str
        Entry point name: ``simulated``, ``replay``, ``microscope``.
    seed : int, optional
        Seed of resets without one.
    **options
        The plug-in's options, quantities as text with units.
    """
    plugin = load("environments", name)
    environment: Environment = plugin(plugin.Config.model_validate(options, context=FROM_FILE), seed=seed)
    return environment
