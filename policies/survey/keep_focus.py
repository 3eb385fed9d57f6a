"""Keeping a survey in focus: a height map, and a focus series only where the map is too uncertain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoscope.perception.focus_map import FocusMap
from autoscope.perception.sharpness import sharpness
from autoscope.protocols import JsonValue
from autoscope.records import Decision, Frame, MicroscopeState, SetOptics
from policies.focus import FocusSearch
from policies.survey.config import KeepFocusConfig
from policies.survey.focus_pair_series import FocusPairSeries

SAME_FOCUS = 0.25
"""A predicted defocus within this share of the tolerance of the one set is not worth setting."""


class KeepFocus:
    """Decides on arrival at a tile whether to trust the height map, and runs a focus series where not.

    Parameters
    ----------
    config : KeepFocusConfig
        Series, tolerance, and the expected bumps of the sample.
    """

    def __init__(self, config: KeepFocusConfig) -> None:
        self._config = config
        self._map = self._empty_map()
        self._search: FocusSearch | None = None
        self._pair: FocusPairSeries | None = None
        self._stigmators_m: tuple[float, float] | None = None
        self._at: tuple[float, float] = (0.0, 0.0)
        self._set_m: float | None = None
        self._wanted_m: float | None = None

    def _empty_map(self) -> FocusMap:
        config = self._config
        return FocusMap(
            length_m=config.map_length_m, amplitude_m=config.map_amplitude_m, noise_m=config.tolerance_m / 4
        )

    @property
    def busy(self) -> bool:
        """Whether focus acts are due before the tile can be imaged."""
        return self._wanted_m is not None or self._series_running

    @property
    def _series_running(self) -> bool:
        return self._search is not None or self._pair is not None

    def arrive(self, x_m: float, y_m: float) -> None:
        """Decide what focusing the tile at a stage position needs."""
        self._at = (x_m, y_m)
        mean_m, std_m = self._map.predict(x_m, y_m)
        self._search, self._pair, self._wanted_m = None, None, None
        first = len(self._map) == 0
        if std_m > self._config.tolerance_m and self._config.pairs and not first:
            prior_m = max(std_m, self._config.tolerance_m)
            self._pair = FocusPairSeries(mean_m, self._config.span_m, prior_m, self._config.stigmator_m)
            self._wanted_m = self._pair.next_defocus_m()
        elif std_m > self._config.tolerance_m:
            centre_m = (self._set_m or 0.0) if first else mean_m
            self._search = FocusSearch(self._series(first), centre_m)
            self._wanted_m = self._search.next_defocus_m()
        elif self._set_m is None or abs(mean_m - self._set_m) > SAME_FOCUS * self._config.tolerance_m:
            self._wanted_m = mean_m

    def _series(self, first: bool) -> KeepFocusConfig:
        if not first:
            return self._config
        return self._config.replace(span_m=self._config.first_span_m, images=2 * self._config.images - 1, max_images=24)

    def next_decision(self, target: str) -> Decision:
        """Return the setting or image that is due."""
        if self._wanted_m is not None:
            reason = "next defocus of the series" if self._series_running else "focus predicted by the height map"
            a_m, b_m = self._stigmators_m or (None, None)
            if self._stigmators_m:
                reason += ", and the astigmatism that the pair of images showed"
            optics = SetOptics(defocus_m=self._wanted_m, stigmator_a_m=a_m, stigmator_b_m=b_m)
            return Decision(action=optics, purpose="focus", reason=reason, target=target)
        kind = "two images, one on each side of it" if self._pair else "a focus series"
        reason = f"the height map is too uncertain here: take {kind}"
        return Decision(action=self._config.scan(), purpose="focus", reason=reason, target=target)

    def told_setting(self, defocus_m: float) -> None:
        """Learn that a defocus has been set."""
        self._set_m, self._wanted_m, self._stigmators_m = defocus_m, None, None

    def told_image(self, frame: Frame, state: MicroscopeState) -> None:
        """Learn an image of the series, and the state it was taken in."""
        if self._pair is not None:
            self._pair.tell(frame, state)
            self._wanted_m = self._pair.next_defocus_m()
            if self._wanted_m is None:
                found = self._pair.best()
                self._conclude(found.defocus_m, trusted=found.trusted)
                surely = found.astigmatism_m > max(self._config.stigmator_m, 3.0 * found.astigmatism_std_m)
                self._stigmators_m = found.stigmators_m if found.trusted and surely else None
        elif self._search is not None and self._set_m is not None:
            self._search.tell(self._set_m, sharpness(frame.data))
            self._wanted_m = self._search.next_defocus_m()
            if self._wanted_m is None:
                best_m, _, trusted = self._search.best()
                self._conclude(best_m, trusted=trusted)

    def _conclude(self, best_m: float, *, trusted: bool) -> None:
        mean_m, std_m = self._map.predict(*self._at)
        # An untrusted series (an empty or featureless tile) must not bend the map; the map's word stands.
        if trusted or len(self._map) == 0:
            self._map.add(*self._at, best_m)
        elif std_m < float("inf"):
            best_m = mean_m
        self._search, self._pair, self._wanted_m = None, None, best_m

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        search = self._search
        return {
            "map": [list(p) for p in self._map.points],
            "at": list(self._at),
            "set_m": self._set_m,
            "wanted_m": self._wanted_m,
            "centre_m": search.centre_m if search else None,
            "seen": [list(p) for p in search.seen] if search else [],
            "pair": self._pair.state() if self._pair else None,
            "stigmators_m": list(self._stigmators_m) if self._stigmators_m else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned, in place of all that was known."""
        self._map = self._empty_map()
        for x_m, y_m, defocus_m in state["map"]:
            self._map.add(x_m, y_m, defocus_m)
        self._at = (state["at"][0], state["at"][1])
        self._set_m, self._wanted_m, self._search = state["set_m"], state["wanted_m"], None
        pair, stigmators = state["pair"], state["stigmators_m"]
        self._pair = FocusPairSeries.restored(pair) if pair else None
        self._stigmators_m = (stigmators[0], stigmators[1]) if stigmators else None
        if state["centre_m"] is not None:
            self._search = FocusSearch(self._series(len(self._map) == 0), state["centre_m"])
            self._search.seen = [(float(d), float(s)) for d, s in state["seen"]]
