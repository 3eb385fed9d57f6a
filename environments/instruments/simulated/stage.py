"""The stage: a drive that stops almost where it was told, play between drive and sample, rounded read-back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.chance import chance_to_plain, restore_chance
from autoscope.errors import NotReached
from autoscope.records import MoveStage
from environments.instruments.simulated.config import StageConfig

Array = NDArray[np.float64]

LINEAR = ("x_m", "y_m", "z_m")
TILTS = ("alpha_rad", "beta_rad")


class LinearAxis:
    """One driven axis with play.

    The sample follows the drive through a play operator of width ``backlash_m`` (Krasnosel'skii and
    Pokrovskii, Systems with Hysteresis, 1989, section 2): it stands still until the slack is taken up, and
    after a long move lies half the backlash behind.

    Parameters
    ----------
    config : StageConfig
        Precision, backlash and encoder.
    """

    def __init__(self, config: StageConfig) -> None:
        self._config = config
        self._drive_m = 0.0
        self._slack_m = 0.0

    @property
    def true_m(self) -> float:
        """Where the sample really is."""
        return self._drive_m + self._slack_m

    @property
    def read_m(self) -> float:
        """What the encoder on the drive says."""
        return round(self._drive_m / self._config.encoder_m) * self._config.encoder_m

    def move(self, target_m: float, rng: np.random.Generator) -> None:
        """Drive to the target; stop with a random error of standard deviation ``precision_m``."""
        stop_m = target_m + self._config.precision_m * rng.standard_normal()
        half_m = self._config.backlash_m / 2.0
        self._slack_m = min(max(self._slack_m - (stop_m - self._drive_m), -half_m), half_m)
        self._drive_m = stop_m


class Stage:
    """Three linear axes and two tilts; what is true and what is read back differ.

    Parameters
    ----------
    config : StageConfig
        Mechanics.
    rng : numpy.random.Generator
        Source of the random error of each move.
    """

    def __init__(self, config: StageConfig, rng: np.random.Generator) -> None:
        self._config = config
        self._rng = rng
        self._linear = {name: LinearAxis(config) for name in LINEAR}
        self._tilt_rad = dict.fromkeys(TILTS, 0.0)

    @property
    def true_m(self) -> tuple[float, float, float]:
        """True x, y, z without drift."""
        x, y, z = (self._linear[name].true_m for name in LINEAR)
        return x, y, z

    @property
    def tilt_rad(self) -> tuple[float, float]:
        """True alpha and beta."""
        return self._tilt_rad["alpha_rad"], self._tilt_rad["beta_rad"]

    def snapshot(self) -> dict[str, Any]:
        """Return where drives and slack are, the tilts, and the state of chance."""
        linear = {name: [axis._drive_m, axis._slack_m] for name, axis in self._linear.items()}
        return {"linear": linear, "tilt_rad": dict(self._tilt_rad), "rng": chance_to_plain(self._rng)}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up a snapshot."""
        for name, (drive_m, slack_m) in snapshot["linear"].items():
            self._linear[name]._drive_m, self._linear[name]._slack_m = drive_m, slack_m
        self._tilt_rad = dict(snapshot["tilt_rad"])
        restore_chance(self._rng, snapshot["rng"])

    def read(self) -> dict[str, float]:
        """Return the encoder positions, keyed by field name, rounded to the encoder resolution."""
        step_rad = self._config.tilt_encoder_rad
        linear = {name: axis.read_m for name, axis in self._linear.items()}
        return linear | {name: round(value / step_rad) * step_rad for name, value in self._tilt_rad.items()}

    def travel_s(self, move: MoveStage) -> float:
        """Return how long the way takes, straight from read-back to request; tilts turn meanwhile."""
        read = self.read()
        squares = [(to - read[name]) ** 2 for name in LINEAR if (to := getattr(move, name)) is not None]
        return math.sqrt(sum(squares)) / self._config.speed_m_per_s

    def move(self, move: MoveStage) -> Array:
        """Move the axes that are given and return by how much the sample really moved in x and y, shape (2,)."""
        before = self.true_m
        for name in LINEAR:
            if (target_m := getattr(move, name)) is not None:
                self._linear[name].move(target_m, self._rng)
        for name in TILTS:
            if (target_rad := getattr(move, name)) is not None:
                self._tilt_rad[name] = target_rad
        after = self.true_m
        return np.array([after[0] - before[0], after[1] - before[1]])

    def verify(self, move: MoveStage) -> None:
        """Compare read-back with request.

        Raises
        ------
        NotReached
            An axis reads further from the request than the tolerance.
        """
        read = self.read()
        for name in (*LINEAR, *TILTS):
            target = getattr(move, name)
            tolerance = self._config.tolerance_m if name in LINEAR else self._config.tilt_tolerance_rad
            if target is not None and abs(read[name] - target) > tolerance:
                raise NotReached(
                    "the stage stopped away from where it was sent",
                    where=f"move_stage.{name}",
                    value=read[name],
                    limit=f"{target!r} within {tolerance!r}",
                    remedy="Read the stage back and move again",
                )
