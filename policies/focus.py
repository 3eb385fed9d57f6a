"""Autofocus as decisions: a few images at chosen defocus values, a fit, and the best one set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from autoscope.config import ConfigModel
from autoscope.perception.sharpness import fit_focus, sharpness
from autoscope.protocols import JsonValue
from autoscope.quantities import PositiveDuration, PositiveLength
from autoscope.records import Action, Decision, Finish, Result, Scan, SetOptics, View


class FocusConfig(ConfigModel):
    """How a focus series is taken."""

    fov_m: PositiveLength = 400e-9
    size_px: int = Field(default=192, ge=32)
    dwell_s: PositiveDuration = 2e-6
    detector: str = "HAADF"
    span_m: PositiveLength = 1e-6
    """The first images lie between minus and plus this around the expected focus."""
    images: int = Field(default=5, ge=3)
    """Images of the first look."""
    max_images: int = Field(default=9, ge=4)
    """At most this many, where the best one lay at the edge."""

    def scan(self) -> Scan:
        """Return the scan of one focus image."""
        return Scan(
            fov_m=self.fov_m,
            width_px=self.size_px,
            height_px=self.size_px,
            dwell_s=self.dwell_s,
            detectors=(self.detector,),
        )


class FocusSearch:
    """Chooses defocus values around a centre; a fold over (defocus, sharpness) pairs.

    An even series first; while the sharpest image lies at an edge, one more image beyond that edge; then the
    peak of a fit.

    Parameters
    ----------
    config : FocusConfig
        Span and number of images.
    centre_m : float
        Expected focus.
    """

    def __init__(self, config: FocusConfig, centre_m: float) -> None:
        self.config, self.centre_m = config, centre_m
        self.seen: list[tuple[float, float]] = []

    def next_defocus_m(self) -> float | None:
        """Return the defocus of the next image, or None when the search is over."""
        first = np.linspace(-self.config.span_m, self.config.span_m, self.config.images) + self.centre_m
        if len(self.seen) < len(first):
            return float(first[len(self.seen)])
        ordered = sorted(self.seen)
        step_m = 2 * self.config.span_m / (self.config.images - 1)
        best = max(range(len(ordered)), key=lambda k: ordered[k][1])
        blank = ordered[best][1] <= 0.0  # nothing to focus on: a hole, or an empty field
        if blank or len(ordered) >= self.config.max_images or 0 < best < len(ordered) - 1:
            return None
        return ordered[0][0] - step_m if best == 0 else ordered[-1][0] + step_m

    def tell(self, defocus_m: float, value: float) -> None:
        """Learn the sharpness found at a defocus."""
        self.seen.append((defocus_m, value))

    def best(self) -> tuple[float, float, bool]:
        """Return the focusing defocus, its standard deviation, and whether the fit is trusted.

        Where it is not, the sharpest image's defocus with half a step as uncertainty.
        """
        defocus_m, values = (np.array(column) for column in zip(*self.seen, strict=True))
        order = np.argsort(defocus_m)
        defocus_m, values = defocus_m[order], values[order]
        top = int(np.argmax(values))
        fit = fit_focus(defocus_m, values)
        if not fit.ok and 0 < top < len(values) - 1 and values[top] > 0.0:
            # Five settings leave a four-parameter fit one degree of freedom; a summit between lower neighbours
            # is still a summit.
            fit = fit_focus(defocus_m[top - 1 : top + 2], values[top - 1 : top + 2])
        if fit.ok:
            return fit.defocus_m, fit.std_m, True
        return float(defocus_m[top]), self.config.span_m / (self.config.images - 1), False


class FocusPolicy:
    """Finds the defocus of the sharpest image where the stage stands, sets it, and finishes."""

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""

    class Config(FocusConfig):
        """How the series is taken."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self._config = config
        self._search: FocusSearch | None = None
        self._set_m: float | None = None
        self._done = False

    def ask(self, view: View) -> Decision | Finish:
        """Return the next setting or image of the series, at last the best setting."""
        if self._done:
            return Finish(reason=f"focused at a defocus of {(self._set_m or 0.0) * 1e9:.0f} nm")
        search = self._search or FocusSearch(self._config, view.state.defocus_m)
        wanted_m = search.next_defocus_m()
        if wanted_m is None:
            best_m, std_m, trusted = search.best()
            how = f"peak of a fit, +-{std_m * 1e9:.0f} nm" if trusted else "sharpest of the series, no fit"
            return _decision(SetOptics(defocus_m=best_m), f"set the best focus found: {how}", "best focus")
        if self._set_m != wanted_m:
            return _decision(SetOptics(defocus_m=wanted_m), "next defocus of the series", f"image {len(search.seen)}")
        return _decision(self._config.scan(), "image at this defocus", f"image {len(search.seen)}")

    def tell(self, decision: Decision, result: Result) -> None:
        """Learn a setting or an image; a failed act is asked for again."""
        if result.outcome.status != "done":
            return
        if self._search is None:
            self._search = FocusSearch(self._config, result.outcome.state_before.defocus_m)
        if isinstance(decision.action, SetOptics):
            self._set_m = decision.action.defocus_m
            self._done = decision.target == "best focus"
        elif result.frames and self._set_m is not None:
            self._search.tell(self._set_m, sharpness(result.frames[0].data))

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        search = self._search
        series: list[Any] = [list(pair) for pair in search.seen] if search else []
        return {
            "centre_m": search.centre_m if search else None,
            "seen": series,
            "set_m": self._set_m,
            "done": self._done,
        }

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""
        data: Any = state
        self._search = None if data["centre_m"] is None else FocusSearch(self._config, data["centre_m"])
        if self._search:
            self._search.seen = [(float(d), float(s)) for d, s in data["seen"]]
        self._set_m, self._done = data["set_m"], bool(data["done"])


def _decision(action: Action, reason: str, target: str) -> Decision:
    return Decision(action=action, purpose="focus", reason=reason, target=target)
