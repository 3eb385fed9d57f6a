"""Stage, focus and blanker by AutoScript's names; metres and radians on both sides."""

from __future__ import annotations

from typing import Any

from autoscope.records import MoveStage, SetOptics
from environments.instruments.autoscript.config import AutoscriptConfig
from environments.instruments.autoscript.connection import AutoscriptConnection
from environments.instruments.driving import Reading

STAGE = {"x_m": "x", "y_m": "y", "z_m": "z", "alpha_rad": "a", "beta_rad": "b"}


class AutoscriptController:
    """Sets and reads a column.

    Parameters
    ----------
    line : AutoscriptConnection
        The clients.
    config : AutoscriptConfig
        What AutoScript does not tell.
    """

    def __init__(self, line: AutoscriptConnection, config: AutoscriptConfig) -> None:
        self._line, self._config = line, config

    def read(self) -> Reading:
        """Read the column back; axes are taken by name, since lists of them have been mixed up before."""
        stage = self._line.read("specimen.stage.position", lambda m: m.specimen.stage.position)
        return Reading(
            **{field: float(getattr(stage, axis) or 0.0) for field, axis in STAGE.items()},
            defocus_m=float(self._line.read("optics.defocus", lambda m: m.optics.defocus)),
            beam_current_a=self._config.beam_current_a,
            convergence_rad=self._config.convergence_rad,
            voltage_v=self.voltage_v(),
            blanked=bool(self._line.read("optics.blanker", lambda m: m.optics.blanker.is_beam_blanked)),
        )

    def voltage_v(self) -> float:
        """Return the high tension."""
        return float(self._line.read("acceleration_voltage", lambda m: m.optics.acceleration_voltage.value))

    def move(self, move: MoveStage) -> None:
        """Move to an absolute position, the other axes left alone; returns when AutoScript says it has arrived."""
        target = {axis: value for field, axis in STAGE.items() if (value := getattr(move, field)) is not None}
        if not target:
            return
        position = self._line.structures.StagePosition(**target)
        self._line.act("absolute_move_safe", lambda m: m.specimen.stage.absolute_move_safe(position))

    def set_optics(self, wanted: SetOptics) -> None:
        """Set the focus."""
        if wanted.defocus_m is not None:
            self._line.act("optics.defocus", lambda m: setattr(m.optics, "defocus", wanted.defocus_m))

    def blank(self, blanked: bool) -> None:
        """Blank or unblank the beam."""

        def call(microscope: Any) -> None:
            blanker = microscope.optics.blanker
            blanker.blank() if blanked else blanker.unblank()

        self._line.act("optics.blanker", call)

    def make_safe(self) -> None:
        """Blank, and close the valves where that is wanted, on the client that no act uses."""
        self._line.beside("optics.blanker", lambda m: m.optics.blanker.blank())
        if self._config.close_valves_when_safe:
            self._line.beside("vacuum.column_valves", lambda m: m.vacuum.column_valves.close())
