"""What to look at next as a configuration that runs: the same instrument, the same targets, the places named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from scipy.spatial import cKDTree

from autoscope.report.foresight import Suggestion
from autoscope.report.story import Measurement, RunStory

POLICY = "visit"
"""Goes to a list of places and records an image and spectra of each."""
KEPT = ("clock", "operator", "sample", "environment", "scalarizers", "limits", "dose_areas")
"""Of the configuration of the run; budgets are not: they were meant for a whole night."""


def follow_up(story: RunStory, found: Sequence[Suggestion]) -> str:
    """Return a configuration that visits the suggested places, as YAML with a comment on each; empty without any.

    `autoscope check` tells its time and dose before any beam. A place that the run focused at, or near, keeps that
    focus. Where the run used a carousel, so does this.
    """
    if not found:
        return ""
    slots = {m.slot for m in story.measurements}
    focus = _Focus(story.measurements)
    kept = {name: story.config[name] for name in KEPT if story.config.get(name)}
    head = {"name": f"{story.header.get('name') or story.folder}_follow_up", **_simulated_again(kept, story)}
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=100)
    places = [_place(s, focus.near(s), with_slot=len(slots) > 1) for s in found]
    lines = [
        "# What to look at next, after the run in the folder",
        f"#   {_quoted(story.folder)}",
        "# autoscope check FILE tells time and dose; autoscope run FILE does it.",
        text.rstrip(),
        "policy:",
        f"  name: {POLICY}",
        "  options:",
        *_options(story),
        "    positions:",
        *places,
        "",
    ]
    return "\n".join(lines)


def _simulated_again(kept: Mapping[str, Any], story: RunStory) -> dict[str, Any]:
    """Return what is kept, and the seed of a simulated specimen: another one would have other particles."""
    seed = story.setting("seed")
    return {"seed": int(seed)} | dict(kept) if isinstance(seed, int) else dict(kept)


def _options(story: RunStory) -> list[str]:
    """Return the dwell time of the run's own spectra, divided over the pixels around a place."""
    names = sorted({ref.meta.signal for m in story.measurements for ref in m.spectra})
    signals = f", signals: [{', '.join(map(_quoted, names))}]" if names else ""
    return [f"    spectra: {{fov: 40 nm, width_px: 8, height_px: 8, dwell: 100 ms{signals}}}"]


class _Focus:
    """The focus that was set where something was measured, for places near by."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._known = list(measurements) if len({m.defocus_m for m in measurements}) > 1 else []
        self._tree = cKDTree(np.array([_key(m) for m in self._known])) if self._known else None

    def near(self, place: Suggestion) -> float | None:
        """Return the defocus of the nearest measurement, or None where the run never changed it."""
        if self._tree is None:
            return None
        _, index = self._tree.query(_key(place))
        return self._known[int(index)].defocus_m


def _key(place: Measurement | Suggestion) -> tuple[float, float]:
    return place.x_m + 1.0 * place.slot, place.y_m  # slots lie a metre apart


def _place(suggestion: Suggestion, defocus_m: float | None, *, with_slot: bool) -> str:
    fields = [f"x: {suggestion.x_m * 1e6:.5f} um", f"y: {suggestion.y_m * 1e6:.5f} um"]
    fields += [] if defocus_m is None else [f"defocus: {defocus_m * 1e9:.1f} nm"]
    fields += [f"slot: {suggestion.slot}"] if with_slot else []
    fields += [f"label: {_quoted(suggestion.label)}"] if suggestion.label else []
    return f"      - {{{', '.join(fields)}}}  # {suggestion.what}: {_quoted(suggestion.expected)}"


def _quoted(text: str) -> str:
    """Return a text that is one YAML scalar and stays inside a comment, whatever is in it."""
    return json.dumps("".join(c if c.isprintable() else " " for c in text), ensure_ascii=False)
