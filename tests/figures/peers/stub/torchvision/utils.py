"""Names that AtomAI imports and its deep kernel never uses."""

from __future__ import annotations

make_grid = None
