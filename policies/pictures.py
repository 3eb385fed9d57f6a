"""What a policy thought of every candidate, as maps to look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoscope.model_maps import ModelMaps
from policies.field import Situation
from policies.pixels import PixelGrid

Array = NDArray[np.float64]


def pictured(
    asked: Situation | None, grid: PixelGrid | None, target: str, unit: str, thoughts: Mapping[str, Array]
) -> ModelMaps | None:
    """Return layers over the candidates of a question in the stage frame; None where nothing was asked yet.

    Parameters
    ----------
    thoughts : mapping of str to array
        (m,) by layer; of ``acquisition`` what was forbidden is left out.
    """
    if asked is None or grid is None:
        return None
    state = asked.view.state
    x_m, y_m = (grid.positions(asked.candidates) + np.array([state.x_m, state.y_m])).T.astype(np.float32)
    layers = {name: layer.astype(np.float32) for name, layer in thoughts.items()}
    layers["acquisition"][asked.forbidden] = np.nan
    return ModelMaps(asked.view.step, target, unit, x_m, y_m, layers)
