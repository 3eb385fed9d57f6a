"""Stage, lenses, blanker and mode of the microscope, in its names and units."""

from __future__ import annotations

from autoscope.errors import InstrumentError
from autoscope.records import MicroscopeState, MoveStage, Range, SetOptics
from environments.instruments.driving import Reading
from environments.instruments.temscript.config import TemscriptConfig
from environments.instruments.temscript.connection import TemscriptConnection

STAGE = {"x_m": "x", "y_m": "y", "z_m": "z", "alpha_rad": "a", "beta_rad": "b"}
"""Metres and radians on both sides."""
STIGMATOR_UNITS = 1.0
"""Largest setting of a stigmator."""


class TemscriptController:
    """Sets and reads a microscope.

    Parameters
    ----------
    line : TemscriptConnection
        The connection of acts.
    config : TemscriptConfig
        Calibrations.
    """

    def __init__(self, line: TemscriptConnection, config: TemscriptConfig) -> None:
        self._line, self._config = line, config
        self._defocus_unit_m = config.defocus_m_per_unit if config.defocus_control == "defocus" else 1.0

    def read(self) -> Reading:
        """Read the microscope back."""
        stage = self._line.get("get_stage_position")
        a, b = self._line.get("get_condenser_stigmator") if self._config.stigmator_m_per_unit else (0.0, 0.0)
        unit_m = self._config.stigmator_m_per_unit or 0.0
        return Reading(
            **{field: float(stage[axis]) for field, axis in STAGE.items() if axis in stage},
            defocus_m=float(self._line.get(f"get_{self._config.defocus_control}")) * self._defocus_unit_m,
            stigmator_a_m=float(a) * unit_m,
            stigmator_b_m=float(b) * unit_m,
            beam_current_a=self._config.beam_current_a,
            convergence_rad=self._config.convergence_rad,
            voltage_v=float(self._line.get("get_voltage")) * 1e3,
            blanked=bool(self._line.get("get_beam_blanked")),
        )

    def stage_ranges(self) -> dict[str, Range]:
        """Return the limits that the microscope tells, by our names; a missing axis has none."""
        limits = self._line.get("get_stage_limits")
        return {
            field: Range(low=float(limits[axis][0]), high=float(limits[axis][1]))
            for field, axis in STAGE.items()
            if axis in limits
        }

    def move(self, move: MoveStage) -> None:
        """Send the stage; returns when the microscope says that it has arrived."""
        target = {axis: value for field, axis in STAGE.items() if (value := getattr(move, field)) is not None}
        if target:
            self._line.do("set_stage_position", target, method="GO", timeout_s=self._config.stage_timeout_s)

    def arrived(self) -> bool:
        """Return whether the stage is at rest.

        Raises
        ------
        InstrumentError
            The stage is disabled or not in a state to move.
        """
        status = str(self._line.get("get_stage_status"))
        if status not in ("READY", "GOING", "MOVING", "WOBBLING"):
            raise InstrumentError("the stage is out of order", where="stage_status", value=status)
        return status == "READY"

    def set_optics(self, wanted: SetOptics, now: MicroscopeState) -> None:
        """Set the lenses that are given."""
        if wanted.defocus_m is not None:
            self._line.do(f"set_{self._config.defocus_control}", wanted.defocus_m / self._defocus_unit_m)
        if wanted.stigmator_a_m is not None or wanted.stigmator_b_m is not None:
            unit_m = self._config.stigmator_m_per_unit or 1.0
            a_m = now.stigmator_a_m if wanted.stigmator_a_m is None else wanted.stigmator_a_m
            b_m = now.stigmator_b_m if wanted.stigmator_b_m is None else wanted.stigmator_b_m
            self._line.do("set_condenser_stigmator", (a_m / unit_m, b_m / unit_m))

    def blank(self, blanked: bool) -> None:
        """Blank or unblank the beam."""
        self._line.do("set_beam_blanked", blanked)

    def stem_detectors(self) -> tuple[str, ...]:
        """Return the STEM detectors there are; none on a microscope (or null server) without STEM."""
        return tuple(self._line.get("get_stem_detectors")) if self._line.get("is_stem_available") else ()
