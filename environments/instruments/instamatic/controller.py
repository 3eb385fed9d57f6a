"""Stage, lenses and blanker by instamatic's method names; nothing else is ever called."""

from __future__ import annotations

import math
from typing import Any

from autoscope.errors import InstrumentError
from autoscope.records import MicroscopeState, MoveStage, SetOptics
from environments.instruments.driving import Reading
from environments.instruments.instamatic.config import InstamaticConfig
from environments.instruments.instamatic.connection import InstamaticConnection

NM = 1e-9
DEGREE = math.radians(1.0)
STAGE = {"x_m": ("x", NM), "y_m": ("y", NM), "z_m": ("z", NM), "alpha_rad": ("a", DEGREE), "beta_rad": ("b", DEGREE)}


class InstamaticController:
    """Sets and reads a microscope.

    Parameters
    ----------
    line : InstamaticConnection
        The connection.
    config : InstamaticConfig
        Calibrations.
    """

    def __init__(self, line: InstamaticConnection, config: InstamaticConfig) -> None:
        self._line, self._config = line, config

    def read(self) -> Reading:
        """Read the microscope back."""
        stage = _numbers("getStagePosition", self._line.call("getStagePosition"), 5)
        a_m, b_m = self._stigmators_m()
        return Reading(
            **{field: value * unit for (field, (_, unit)), value in zip(STAGE.items(), stage)},
            defocus_m=self._defocus_m(),
            stigmator_a_m=a_m,
            stigmator_b_m=b_m,
            beam_current_a=self._config.beam_current_a,
            convergence_rad=self._config.convergence_rad,
            voltage_v=_numbers("getHTValue", [self._line.call("getHTValue")], 1)[0],
            blanked=bool(self._line.call("isBeamBlanked")),
        )

    def move(self, move: MoveStage) -> None:
        """Send the stage on its way; `moving` tells when it is over."""
        target: dict[str, float] = {}
        for field, (axis, unit) in STAGE.items():
            if (value := getattr(move, field)) is not None:
                target[axis] = round(value / unit) if unit == NM else value / unit
        if target:
            self._line.call("setStagePosition", **target, wait=False)

    def moving(self) -> bool:
        """Return whether the stage is under way."""
        return bool(self._line.call("isStageMoving"))

    def set_optics(self, wanted: SetOptics, now: MicroscopeState) -> None:
        """Set the lenses that are given; admission saw to it that they are calibrated."""
        if wanted.defocus_m is not None and (focus := self._config.focus):
            self._line.call(f"set{focus.control}", focus.to_dac(wanted.defocus_m))
        asked = (wanted.stigmator_a_m, wanted.stigmator_b_m)
        if asked != (None, None) and (stigmator := self._config.stigmator):
            a_m = now.stigmator_a_m if asked[0] is None else asked[0]
            b_m = now.stigmator_b_m if asked[1] is None else asked[1]
            self._line.call("setCondensorLensStigmator", stigmator.to_dac(a_m), stigmator.second().to_dac(b_m))

    def blank(self, blanked: bool) -> None:
        """Blank or unblank the beam."""
        self._line.call("setBeamBlank", blanked)

    def stop(self) -> None:
        """Blank and stop the stage, overtaking whatever is under way."""
        try:
            self._line.call_beside("setBeamBlank", True)
        finally:
            self._line.call_beside("stopStage")

    def _defocus_m(self) -> float:
        if (focus := self._config.focus) is None:
            return 0.0
        return focus.to_m(round(_numbers(focus.control, [self._line.call(f"get{focus.control}")], 1)[0]))

    def _stigmators_m(self) -> tuple[float, float]:
        if (stigmator := self._config.stigmator) is None:
            return 0.0, 0.0
        a, b = _numbers("getCondensorLensStigmator", self._line.call("getCondensorLensStigmator"), 2)
        return stigmator.to_m(round(a)), stigmator.second().to_m(round(b))


def _numbers(name: str, answer: Any, count: int) -> list[float]:
    """Return an answer as that many finite numbers.

    Raises
    ------
    InstrumentError
        It is something else.
    """
    if isinstance(answer, list) and len(answer) == count:
        numbers = [float(v) for v in answer if isinstance(v, int | float) and math.isfinite(v)]
        if len(numbers) == count:
            return numbers
    raise InstrumentError("the answer is not what it should be", where=name, value=answer, limit=f"{count} numbers")
