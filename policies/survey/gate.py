"""Whether an image may be learnt from, by its own metrics and by those of the images before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autoscope.protocols import JsonValue
from policies.survey.config import GateConfig

MEMORY = 15
"""Images of a kind from which what is usual is taken."""
ENOUGH = 3
"""Fewer than these say nothing about what is usual."""


class FrameGate:
    """Holds each image against those of its kind; a fold over the metrics in the record.

    Parameters
    ----------
    config : GateConfig
        What is too dim or too noisy, and how often it is repeated.
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._usual: dict[str, list[float]] = {}
        self._repeats = 0

    def judge(self, kind: str, signal: str, quality: Mapping[str, float]) -> str:
        """Return why an image should be taken again, or nothing where it is fit or has been repeated often enough.

        Parameters
        ----------
        kind : str
            Images are compared with those of their kind only, e.g. ``overview``.
        signal : str
            Detector whose image is learnt from.
        quality : mapping
            The metrics of the outcome, as ``signal.metric``.
        """
        mean, snr = quality.get(f"{signal}.mean"), quality.get(f"{signal}.snr_estimate")
        why = self._unfit(kind, mean, snr)
        if why and self._repeats < self._config.repeats:
            self._repeats += 1
            return why
        self._repeats = 0
        if mean is not None:
            self._usual[kind] = [*self._usual.get(kind, []), mean][-MEMORY:]
        return ""

    def _unfit(self, kind: str, mean: float | None, snr: float | None) -> str:
        if snr is not None and snr < self._config.min_snr:
            return f"signal to noise {snr:.2g}, below {self._config.min_snr:g}"
        usual = self._usual.get(kind, [])
        if mean is None or len(usual) < ENOUGH:
            return ""
        middle = float(np.median(usual))
        if mean < self._config.dim * middle:
            return f"mean {mean:.3g}, usually {middle:.3g}: dim"
        return f"mean {mean:.3g}, usually {middle:.3g}: glaring" if mean > self._config.glaring * middle else ""

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {"usual": {kind: list(values) for kind, values in self._usual.items()}, "repeats": self._repeats}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._usual = {kind: [float(v) for v in values] for kind, values in state["usual"].items()}
        self._repeats = int(state["repeats"])
