"""Who steers, how freely the run decides, and what people want of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.content import Content

from autoscope.dashboard.panel import TextPanel, pair
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.wheel import Wheel
from autoscope.dashboard.wording import estimate


def suggested(wheel: Wheel) -> list[str]:
    """Return what waits for a person's choice, a line each: the question, and the suggestions, best first."""
    if not wheel.suggestion:
        return []
    best = {"mean": wheel.suggestion.get("predicted_mean"), "std": wheel.suggestion.get("predicted_std")}
    ranked = [{"action": wheel.suggestion.get("action"), **best}, *(wheel.suggestion.get("runners_up") or ())]
    lines = [f"{k}. {_place(one)}" for k, one in enumerate(ranked, start=1)]
    keys = "[ the first, ] the second is more interesting" if wheel.pair else "y the suggestion, g another place"
    return [f"your choice ({keys}): {wheel.because}", *lines]


def _place(one: Mapping[str, Any]) -> str:
    action, mean, std = one.get("action") or {}, one.get("mean"), one.get("std")
    at = f"({1e9 * float(action.get('x_m', 0.0)):.4g}, {1e9 * float(action.get('y_m', 0.0)):.4g}) nm from the axis"
    return at if mean is None else f"{at}: {estimate(float(mean), None if std is None else float(std))}"


class PeoplePanel(TextPanel):
    """The wheel, the autonomy, and the last things people did."""

    TITLE = "people"

    def show(self, sight: Sight) -> None:
        """Show who steers."""
        wheel = sight.model.wheel
        lines = [
            pair("wheel", wheel.holder or "free"),
            pair("autonomy", wheel.autonomy.replace("_", " ")),
            pair("paused", f"by {wheel.paused}" if wheel.paused else "no"),
            pair("operator", str(sight.model.header.get("operator") or "not named")),
        ]
        wishes = wheel.wishes
        places = [("excluded", wishes.excluded), ("pinned", wishes.pinned)]
        lines += [pair(name, "; ".join(p.words() for p in held), 10) for name, held in places if held]
        lines += [pair("queue", f"{one.place.words()} ({one.who})", 10) for one in wheel.queue]
        lines += [Content(line) for line in suggested(wheel)]
        told = [r for r in sight.remarks if r.kind == "intervention"][-8:]
        lines += [Content.assemble((f"{r.wall[11:19]} {r.who} ", "$foreground-muted"), r.text) for r in reversed(told)]
        self.update(Content("\n").join(lines))
