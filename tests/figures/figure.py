"""One measured figure, printed as one JSON line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number with its goal; ``ok`` is None where there is no goal."""

    name: str
    value: Any
    unit: str
    goal: str
    ok: bool | None
    n: int
    how: str

    def line(self) -> str:
        """Return the figure as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)
