"""Stage, lenses and blanker: our words in, vendor properties out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from autoscope.records import MicroscopeState, MoveStage, SetOptics
from environments.instruments.detwin.connection import Column
from environments.instruments.detwin.verbs import (
    ALPHA_RUNGS_RAD,
    CORRECTOR,
    MRAD,
    STAGE,
    STEM,
    STIGMATOR_M,
    UM,
)
from environments.instruments.driving import Reading


class ColumnController:
    """Sets and reads a column.

    Parameters
    ----------
    column : Column
        The connection.
    currents_a : dict of int to float
        Probe current by spot size; a single entry where the current cannot be set.
    """

    def __init__(self, column: Column, currents_a: dict[int, float]) -> None:
        self._column, self._currents_a = column, currents_a
        fields = [name for names, _ in CORRECTOR.values() for name in names] if column.has_corrector() else []
        self._corrected_m = dict.fromkeys(fields, 0.0)

    def prepare(self, camera_length_m: float) -> None:
        """Bring the column into STEM with a camera length, the beam blanked."""
        self._column.set("BeamBlank", 1)
        self._column.set("TemStemMode", STEM)
        self._column.set("CameraLength", camera_length_m * 100.0)

    def read(self) -> Reading:
        """Read the column back."""
        get = self._column.get
        stage, stigmator = get("StagePosition"), get("CondenserStig")
        return Reading(
            **{field: float(stage[axis]) * unit for field, (axis, unit) in STAGE.items()},
            defocus_m=float(get("Defocus")) * UM,
            stigmator_a_m=float(stigmator[0]) * STIGMATOR_M,
            stigmator_b_m=float(stigmator[1]) * STIGMATOR_M,
            beam_current_a=self._current_a(int(get("SpotSize"))),
            convergence_rad=float(get("ConvergenceAngle")) * MRAD,
            voltage_v=float(get("HighTension")),
            blanked=bool(int(get("BeamBlank"))),
            **self._corrected_m,
        )

    def _current_a(self, spot: int) -> float:
        return self._currents_a.get(spot, next(iter(self._currents_a.values())))

    def move(self, move: MoveStage) -> None:
        """Post a move; `Column.moving` tells when it is over."""
        axes = {
            axis: value / unit for field, (axis, unit) in STAGE.items() if (value := getattr(move, field)) is not None
        }
        if axes:
            self._column.set("StagePosition", axes)

    def set_optics(self, wanted: SetOptics, now: MicroscopeState) -> None:
        """Set the lenses that are given."""
        if wanted.defocus_m is not None:
            self._column.set("Defocus", wanted.defocus_m / UM)
        if wanted.stigmator_a_m is not None or wanted.stigmator_b_m is not None:
            a_m = now.stigmator_a_m if wanted.stigmator_a_m is None else wanted.stigmator_a_m
            b_m = now.stigmator_b_m if wanted.stigmator_b_m is None else wanted.stigmator_b_m
            self._column.set("CondenserStig", (a_m / STIGMATOR_M, b_m / STIGMATOR_M))
        if wanted.convergence_rad is not None:
            self._column.set("AlphaSelector", _rung(wanted.convergence_rad, dict(enumerate(ALPHA_RUNGS_RAD))))
        if wanted.beam_current_a is not None:
            self._column.set("SpotSize", _rung(wanted.beam_current_a, self._currents_a))

    def corrections(self, wanted: SetOptics) -> Iterator[None]:
        """Have the corrector bring each aberration that is asked for to its value; wait for it at each step."""
        for name, (fields, per_m) in CORRECTOR.items():
            asked = {f: value for f in fields if (value := getattr(wanted, f)) is not None}
            if not asked:
                continue
            now, then = ([{**self._corrected_m, **new}[f] for f in fields] for new in ({}, asked))
            self._column.correct(name, per_m * complex(*now), per_m * complex(*then))
            yield
            self._corrected_m |= asked

    def blank(self, blanked: bool) -> None:
        """Blank or unblank the beam."""
        self._column.set("BeamBlank", int(blanked))

    def magnify(self, magnification: float) -> Any:
        """Choose a rung of the magnification ladder and return what is read back."""
        self._column.set("Magnification", magnification)
        return self._column.get("Magnification")


def _rung(value: float, rungs: dict[int, float]) -> int:
    """Return the key of a value that admission found among the choices."""
    return min(rungs, key=lambda key: abs(math.log(rungs[key] / value)))
