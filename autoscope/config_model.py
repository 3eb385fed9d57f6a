"""The base of every configuration value: frozen, strict, quantities with units."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from autoscope.quantities import without_unit


class ConfigModel(BaseModel):
    """A frozen configuration value. Fields carry SI units in their names; people type names without them.

    ``fov_m: PositiveLength`` is written ``fov: 500 nm`` in a file and ``Config(fov_m=5e-7)`` in code.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=without_unit,
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=False,
        use_attribute_docstrings=True,
    )

    def plain(self) -> dict[str, Any]:
        """Return the value as plain data that parses to itself, quantities as text with units."""
        data: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return data

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self).model_validate({name: getattr(self, name) for name in type(self).model_fields} | changes)
