"""Whether an image may be learnt from, by its own metrics and by those of the images before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from autoscope.guard.quality import BEST_SNR
from autoscope.protocols import JsonValue
from autoscope.purposes import UNFIT
from policies.survey.config import GateConfig

MEMORY = 15
"""Images of a kind from which what is usual is taken."""
ENOUGH = 3
"""Fewer than these say nothing about what is usual."""


class FrameGate:
    """Holds each image against those of its kind; a fold over the metrics in the record.

    A detector with a pedestal has nearly the same mean with a tenth of the signal, but not the noise of it: where the
    noise has fallen as that of counting does, by the root of the signal, the image is as dim as one whose mean has.

    Parameters
    ----------
    config : GateConfig
        What is too dim or too noisy, and how often it is repeated.
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._usual: dict[str, list[float]] = {}
        self._usual_noise: dict[str, list[float]] = {}
        self._repeats = 0
        self.remark = ""
        """Why the last image is taken again, or taken as it is in the end; empty where it is fit."""
        self.note: dict[str, float] = {}
        """The same for programs; of the decision that follows the image."""

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
            self.remark = f"the image before is not learnt from ({why}): it is taken again"
            self.note = {UNFIT: 1.0}
            return why
        if why:
            self.remark = f"the image before is no better when repeated ({why}): it is taken as it is"
            self.note = {UNFIT: 0.0}
        self._repeats = 0
        for usual, value in ((self._usual, mean), (self._usual_noise, _noise(mean, snr))):
            if value is not None:
                usual[kind] = [*usual.get(kind, []), value][-MEMORY:]
        return ""

    def _unfit(self, kind: str, mean: float | None, snr: float | None) -> str:
        if snr is not None and snr < self._config.min_snr:
            return f"signal to noise {snr:.2g}, below {self._config.min_snr:g}"
        middle, noise = _middle(self._usual.get(kind, [])), _noise(mean, snr)
        if mean is None or middle is None:
            return ""
        if mean < self._config.dim * middle:
            return f"mean {mean:.3g}, usually {middle:.3g}: dim"
        if mean > self._config.glaring * middle:
            return f"mean {mean:.3g}, usually {middle:.3g}: glaring"
        usual = _middle(self._usual_noise.get(kind, []))
        if noise is not None and usual is not None and noise < math.sqrt(self._config.dim) * usual:
            return f"noise {noise:.3g}, usually {usual:.3g}: dim, with a pedestal"
        return ""

    def next_act(self) -> None:
        """Learn that the decision after the image was carried out."""
        self.remark, self.note = "", {}

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        usual: dict[str, JsonValue] = {kind: [*values] for kind, values in self._usual.items()}
        noise: dict[str, JsonValue] = {kind: [*values] for kind, values in self._usual_noise.items()}
        note: dict[str, JsonValue] = {**self.note}
        return {
            "usual": usual,
            "usual_noise": noise,
            "repeats": self._repeats,
            "remark": self.remark,
            "note": note,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        for name, usual in (("usual", self._usual), ("usual_noise", self._usual_noise)):
            usual.clear()
            usual.update({kind: [float(v) for v in values] for kind, values in state.get(name, {}).items()})
        self._repeats, self.remark = int(state["repeats"]), str(state.get("remark", ""))
        self.note = {name: float(value) for name, value in state.get("note", {}).items()}


def _middle(usual: list[float]) -> float | None:
    return float(np.median(usual)) if len(usual) >= ENOUGH else None


def _noise(mean: float | None, snr: float | None) -> float | None:
    """Return the standard deviation of the noise of an image, where its metrics tell it."""
    return mean / snr if mean is not None and snr and 0.0 < snr < BEST_SNR else None
