"""Who steers, how freely the run decides, and what people want of it."""

from __future__ import annotations

from textual.content import Content

from autoscope.dashboard.panel import TextPanel, pair
from autoscope.dashboard.sight import Sight


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
        told = [r for r in sight.remarks if r.kind == "intervention"][-8:]
        lines += [Content.assemble((f"{r.wall[11:19]} {r.who} ", "$foreground-muted"), r.text) for r in reversed(told)]
        self.update(Content("\n").join(lines))
