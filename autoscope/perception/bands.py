"""Places and intervals on a calibrated axis, typed with the unit people think in (``1.66 keV``)."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from autoscope.errors import FrameRejected
from autoscope.quantities import parse
from autoscope.records import Axis

_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*")


@functools.lru_cache(maxsize=1024)
def convert(value: float, unit: str, to: str) -> float:
    """Return a value in another unit; equal units, the empty one among them, need no conversion.

    Raises
    ------
    ValueError
        The units are of different dimension, or one is unknown.

    Examples
    --------
    >>> convert(1.66, "keV", "eV")
    1660.0
    """
    return value if unit == to else parse(f"{value!r} {unit}", to)


@dataclass(frozen=True)
class Coordinate:
    """A place on an axis: number and unit are kept as typed, and converted to the unit of each axis met.

    Examples
    --------
    >>> Coordinate.parse("1.66 keV")
    Coordinate(value=1.66, unit='keV')
    >>> str(Coordinate(931.0, "eV")), Coordinate.parse("12").unit
    ('931.0 eV', '')
    """

    value: float
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1.66 keV``, or a bare number for an axis without unit.

        Raises
        ------
        ValueError
            Not a finite number, or the unit is unknown.
        """
        match = _NUMBER.fullmatch(text)
        if match is None or not math.isfinite(float(match[1])):
            raise ValueError(f"{text!r} is not a number with a unit, e.g. '1.66 keV'")
        if match[2]:
            parse(f"1 {match[2]}", match[2])
        return cls(float(match[1]), match[2])

    def to(self, unit: str) -> float:
        """Return the number in another unit.

        Raises
        ------
        FrameRejected
            The axis is in a unit of another dimension.
        """
        try:
            return convert(self.value, self.unit, unit)
        except ValueError as error:
            raise FrameRejected(
                "a coordinate does not convert to the unit of the axis",
                value=str(self),
                limit=f"a quantity in {unit!r}",
                remedy="Give the band in a unit of that axis",
            ) from error

    def __str__(self) -> str:
        return f"{self.value!r} {self.unit}".strip()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "description": "a number with the unit of the axis, e.g. 1.66 keV"}

    @classmethod
    def _validate(cls, given: Any) -> Coordinate:
        if isinstance(given, Coordinate):
            return given
        if isinstance(given, bool) or not isinstance(given, (str, int, float)):
            raise PydanticCustomError("coordinate", "needs a number with the unit of the axis, e.g. '1.66 keV'")
        try:
            return cls.parse(given if isinstance(given, str) else repr(float(given)))
        except ValueError as error:
            raise PydanticCustomError("coordinate", str(error).replace("{", "(").replace("}", ")")) from error


def _ordered(band: tuple[Coordinate, Coordinate]) -> tuple[Coordinate, Coordinate]:
    low, high = band
    if convert(high.value, high.unit, low.unit) <= low.value:
        raise ValueError(f"the band must run from low to high, not from {low} to {high}")
    return band


Band = Annotated[tuple[Coordinate, Coordinate], AfterValidator(_ordered)]
"""A closed interval on an axis, typed ``[1.66 keV, 1.88 keV]``."""


def channels(band: tuple[Coordinate, Coordinate] | None, axis: Axis) -> NDArray[np.intp]:
    """Return the indices of the channels whose centre lies in the band (None: all of them).

    Raises
    ------
    FrameRejected
        The band reaches beyond the outermost channels, or falls between two of them.

    Examples
    --------
    >>> axis = Axis(name="energy", unit="eV", size=5, offset=100.0, scale=10.0)
    >>> channels((Coordinate(0.11, "keV"), Coordinate(130.0, "eV")), axis).tolist()
    [1, 2, 3]
    """
    if band is None:
        return np.arange(axis.size)
    low, high = (place.to(axis.unit) for place in band)
    centres, step = axis.values(), abs(axis.scale)
    first, last = float(centres.min()) - step / 2, float(centres.max()) + step / 2
    dust = 1e-6 * step  # so that a band typed on a channel centre keeps that channel
    reaches = f"[{low:g}, {high:g}] {axis.unit}".rstrip()
    if low < first - dust or high > last + dust:
        covered = f"[{first:g}, {last:g}] {axis.unit}".rstrip()
        raise FrameRejected("the axis does not cover the band", where=axis.name, value=reaches, limit=covered)
    inside = np.flatnonzero((centres >= low - dust) & (centres <= high + dust))
    if inside.size == 0:
        raise FrameRejected(
            "no channel has its centre in the band",
            where=axis.name,
            value=reaches,
            limit=f"channels every {step:g} {axis.unit}".rstrip(),
            remedy="Widen the band",
        )
    return inside
