"""Quantities with units: people type ``500 nm``, code gets SI floats; a bare number is refused."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_TYPED = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s].*)?")

FROM_FILE = {"bare_numbers": "refused"}
"""Validation context for text people typed: a number without unit is an error there."""

SUFFIXES = ("_e_per_m2", "_per_m2", "_m_per_s", "_rad", "_ev", "_m", "_s", "_pa", "_a", "_v", "_k", "_e")


def without_unit(field: str) -> str:
    """Return the name people type for a field: ``fov_m`` -> ``fov``.

    Examples
    --------
    >>> without_unit("dwell_s"), without_unit("max_dose_e_per_m2"), without_unit("seed")
    ('dwell', 'max_dose', 'seed')
    """
    suffix = next((s for s in SUFFIXES if field.endswith(s)), "")
    return field.removesuffix(suffix)


@functools.cache
def _registry() -> Any:
    import pint  # 0.5 s: only when a quantity is really parsed

    return pint.UnitRegistry(cache_folder=None)


def parse(text: str, unit: str) -> float:
    """Return a typed quantity in ``unit``.

    Raises
    ------
    ValueError
        Not a number with a unit, of another dimension, or not finite.

    Examples
    --------
    >>> parse("500 nm", "m")
    5e-07
    >>> round(parse("100 e/angstrom^2", "e/m^2") / 1e22, 6)
    1.0
    """
    import pint

    typed = _TYPED.fullmatch(text)
    if typed is None:
        raise ValueError(f"{text!r} is not a number with a unit, e.g. '1 {unit}'")
    number, symbol = typed.groups()
    if not symbol:
        raise ValueError(f"{text!r} has no unit; write it with one, e.g. '{text} {unit}'")
    registry = _registry()
    try:
        value = float(registry.Quantity(float(number), registry.Unit(symbol)).to(registry.Unit(unit)).magnitude)
    except (pint.errors.PintError, TypeError, AttributeError, SyntaxError, AssertionError) as error:
        raise ValueError(f"{text!r} is not a quantity in {unit or 'plain numbers'}: {error}") from error
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return round_off(value)


def round_off(value: float) -> float:
    """Return the value without the dust of unit conversion: 500 nm is 5e-07, not 5.000000000000001e-07."""
    return float(f"{value:.15g}")


@dataclass(frozen=True)
class Quantity:
    """Pydantic marker: a float field in a unit, typed by people as text with a unit of that dimension."""

    unit: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "description": f"a number with a unit convertible to {self.unit}"}

    def _validate(self, given: Any, info: ValidationInfo) -> float:
        if isinstance(given, bool) or not isinstance(given, (str, int, float)):
            raise PydanticCustomError("quantity", f"needs a number with a unit, e.g. '1 {self.unit}'")
        if not isinstance(given, str):
            if (info.context or {}).get("bare_numbers") == "refused":
                raise PydanticCustomError(
                    "quantity_bare", f"is a bare number; a unit belongs here, e.g. '{given} {self.unit}'"
                )
            value = float(given)
        else:
            try:
                value = parse(given, self.unit)
            except ValueError as error:
                raise PydanticCustomError("quantity_unit", str(error).replace("{", "(").replace("}", ")")) from error
        if not math.isfinite(value):
            raise PydanticCustomError("quantity_finite", "must be finite")
        if not self.low <= value <= self.high or (self.low_open and value == self.low):
            raise PydanticCustomError("quantity_range", f"must be {self._interval()}")
        return value

    def _interval(self) -> str:
        bracket = "]" if self.low_open else "["
        return f"in {bracket}{self.low:g}, {self.high:g}] {self.unit}"

    def write(self, value: float) -> str:
        """Return the text that parses to the same value."""
        return f"{value!r} {self.unit}"


_POSITIVE = {"low": 0.0, "low_open": True}

Length = Annotated[float, Quantity("m")]
PositiveLength = Annotated[float, Quantity("m", **_POSITIVE)]
Duration = Annotated[float, Quantity("s", low=0.0)]
PositiveDuration = Annotated[float, Quantity("s", **_POSITIVE)]
Angle = Annotated[float, Quantity("rad")]
Current = Annotated[float, Quantity("A", low=0.0)]
PositiveCurrent = Annotated[float, Quantity("A", **_POSITIVE)]
PositiveVoltage = Annotated[float, Quantity("V", **_POSITIVE)]
Voltage = Annotated[float, Quantity("V")]
Energy = Annotated[float, Quantity("eV")]
PositiveEnergy = Annotated[float, Quantity("eV", **_POSITIVE)]
Temperature = Annotated[float, Quantity("K", **_POSITIVE)]
Speed = Annotated[float, Quantity("m/s")]
NonNegativeSpeed = Annotated[float, Quantity("m/s", low=0.0)]
PositiveSpeed = Annotated[float, Quantity("m/s", **_POSITIVE)]
PositiveFluence = Annotated[float, Quantity("e/m^2", **_POSITIVE)]
Electrons = Annotated[float, Quantity("e", **_POSITIVE)]
Pressure = Annotated[float, Quantity("Pa", **_POSITIVE)]
Bytes = Annotated[float, Quantity("byte", **_POSITIVE)]
