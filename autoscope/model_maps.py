"""What a model thinks of every candidate, as arrays to look at: never part of a record, never read by a decision."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import DataError

Floats = NDArray[np.float32]

LAYERS = ("mean", "std", "acquisition")
"""Layers that have a name: expected value of the target, its standard deviation, what measuring there is worth."""


@dataclass(frozen=True)
class ModelMaps:
    """What a model thought of every candidate when it was asked for a step.

    Attributes
    ----------
    step : int
        The step.
    target, unit : str
        What ``mean`` and ``std`` are of.
    x_m, y_m : array of float32
        Places in the stage frame, (n,).
    layers : dict of str to array of float32
        (n,) by name, see `LAYERS`; NaN where nothing is thought of a place.
    """

    step: int
    target: str
    unit: str
    x_m: Floats
    y_m: Floats
    layers: dict[str, Floats]

    def encoded(self) -> bytes:
        """Return the maps as the bytes of an ``.npz`` file."""
        about = json.dumps({"step": self.step, "target": self.target, "unit": self.unit})
        parts: dict[str, Any] = {f"layer_{name}": layer.astype(np.float32) for name, layer in self.layers.items()}
        parts |= {"x_m": self.x_m.astype(np.float32), "y_m": self.y_m.astype(np.float32), "about": np.array(about)}
        buffer = io.BytesIO()
        np.savez(buffer, **parts)
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the maps of a file.

        Raises
        ------
        DataError
            It is absent, or holds no maps.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
                about = json.loads(str(held["about"]))
                layers = {n.removeprefix("layer_"): held[n] for n in held.files if n.startswith("layer_")}
                return cls(about["step"], about["target"], about["unit"], held["x_m"], held["y_m"], layers)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"holds no maps: {error}", where=str(path)) from error
