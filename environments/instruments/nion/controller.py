"""Settings of a Nion column: stage, lenses, blanker; set with confirmation, read back, in our units and axes."""

from __future__ import annotations

import math

import numpy as np

from autoscope.errors import InstrumentError
from autoscope.records import MoveStage, SetOptics
from environments.instruments.driving import Reading
from environments.instruments.nion.config import NionConfig, StageConfig
from environments.instruments.nion.connection import Column

STAGE_CONTROL = "stage_position_m"
STAGE_AXES = ("x", "y")


def stage_matrix(config: StageConfig) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the matrix (2, 2) from our (x, y) of the stage to the column's; it is its own inverse or orthogonal.

    Examples
    --------
    >>> stage_matrix(StageConfig(flip_x=True, flip_y=False)) @ [1.0, 2.0]
    array([-1.,  2.])
    """
    cosine, sine = math.cos(config.rotation_rad), math.sin(config.rotation_rad)
    flip = np.diag([-1.0 if config.flip_x else 1.0, -1.0 if config.flip_y else 1.0])
    turned: np.ndarray[tuple[int, int], np.dtype[np.float64]] = flip @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


class Controller:
    """The settings of a column.

    Parameters
    ----------
    column : Column
        The vendor's handles.
    config : NionConfig
        Names, signs and times.
    """

    def __init__(self, column: Column, config: NionConfig) -> None:
        self._column, self._config = column, config
        self._matrix = stage_matrix(config.stage)
        corrector = config.optics.corrector
        self._corrector = {} if corrector is None else corrector.controls
        if config.optics.energy_offset_ev is not None:
            self._set(config.optics.energy_offset_control, config.optics.energy_offset_ev)
        shifts = config.optics.energy_shift_range_ev is not None
        self._first_ev = self._value(config.optics.energy_offset_control) if shifts else None

    def read(self) -> Reading:
        """Read everything back."""
        optics, stem = self._config.optics, self._column.controller
        at = stem.GetVal2D(STAGE_CONTROL, axis=STAGE_AXES)
        x_m, y_m = self._matrix.T @ np.array([at.x, at.y])
        return Reading(
            x_m=float(x_m),
            y_m=float(y_m),
            defocus_m=optics.defocus_sign * self._value(optics.defocus_control),
            stigmator_a_m=self._value(optics.stigmator_controls[0]),
            stigmator_b_m=self._value(optics.stigmator_controls[1]),
            beam_current_a=max(self._value(optics.current_control), 0.0),
            convergence_rad=max(self._value(optics.convergence_control), 0.0),
            voltage_v=self._value("EHT"),
            blanked=self.blanked(),
            energy_offset_ev=self._shift_ev(),
            **{field: self._value(control) for field, control in self._corrector.items()},
        )

    def _shift_ev(self) -> float | None:
        """Return by how much losses lie higher on the axis told at the start; more first energy moves them lower."""
        if self._first_ev is None:
            return None
        return self._first_ev - self._value(self._config.optics.energy_offset_control)

    def blanked(self) -> bool:
        """Return whether the beam is blanked."""
        return self._value(self._config.optics.blank_control) != 0.0

    def blank(self, blanked: bool) -> None:
        """Blank or unblank; returns when the column has taken it."""
        self._set(self._config.optics.blank_control, 1.0 if blanked else 0.0)

    def move(self, move: MoveStage) -> None:
        """Move the stage to an absolute position in our axes; coordinates not given stay."""
        now = self.read()
        wanted = [now.x_m if move.x_m is None else move.x_m, now.y_m if move.y_m is None else move.y_m]
        x_m, y_m = (float(v) for v in self._matrix @ np.array(wanted))
        point = self._column.geometry.FloatPoint(y=y_m, x=x_m)
        timeout_ms = int(1e3 * self._config.optics.confirm_s)
        if not self._column.controller.SetVal2DAndConfirm(STAGE_CONTROL, point, 1.0, timeout_ms, axis=STAGE_AXES):
            raise self._unconfirmed(STAGE_CONTROL, (x_m, y_m))

    def set_optics(self, wanted: SetOptics) -> None:
        """Set lenses, beam current, corrector and spectrometer to absolute values; fields not given stay."""
        optics = self._config.optics
        for control, value in (
            (optics.defocus_control, None if wanted.defocus_m is None else optics.defocus_sign * wanted.defocus_m),
            (optics.stigmator_controls[0], wanted.stigmator_a_m),
            (optics.stigmator_controls[1], wanted.stigmator_b_m),
            (optics.current_control, wanted.beam_current_a),
            *((control, getattr(wanted, field)) for field, control in self._corrector.items()),
            (optics.energy_offset_control, self._first_energy_ev(wanted)),
        ):
            if value is not None:
                self._set(control, value)

    def _first_energy_ev(self, wanted: SetOptics) -> float | None:
        if wanted.energy_offset_ev is None or self._first_ev is None:
            return None
        return self._first_ev - wanted.energy_offset_ev

    def _set(self, control: str, value: float) -> None:
        timeout_ms = int(1e3 * self._config.optics.confirm_s)
        if not self._column.controller.SetValAndConfirm(control, value, 1.0, timeout_ms):
            raise self._unconfirmed(control, value)

    def _value(self, control: str) -> float:
        known, value = self._column.controller.TryGetVal(control)
        if not known or value is None:
            raise InstrumentError(
                "the column has no such control", where=control, remedy="Correct its name in the driver's configuration"
            )
        return float(value)

    def _unconfirmed(self, control: str, value: object) -> InstrumentError:
        return InstrumentError(
            "the column did not confirm a setting",
            where=control,
            value=value,
            limit=f"{self._config.optics.confirm_s:g} s",
            remedy="Look at the column; raise optics.confirm if it is only slow",
        )
