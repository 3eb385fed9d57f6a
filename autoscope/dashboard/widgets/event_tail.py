"""The last things that happened between the acts, newest last."""

from __future__ import annotations

import numpy as np
from textual.content import Content

from autoscope.dashboard.columns import IN_VAIN, STATUSES
from autoscope.dashboard.model import RunModel
from autoscope.dashboard.panel import TextPanel
from autoscope.dashboard.remarks import Remark
from autoscope.dashboard.sight import Sight

_STYLES = {"intervention": "$accent", "fault": "$error", "run_ended": "$success", "note": "$secondary"}


class EventTail(TextPanel):
    """As many lines as there is room for."""

    TITLE = "events"

    def show(self, sight: Sight) -> None:
        """Show what happened up to the moment."""
        room = max(1, self.content_size.height)
        lines = [line(remark) for remark in sight.remarks[-60:]]
        failed = failures(sight.model, sight.step)
        if failed:
            lines.append(failed)
        self.update(Content("\n").join(lines[-room:]))


def line(remark: Remark) -> Content:
    """Return a remark as one line."""
    who = f"{remark.who}: " if remark.who else ""
    style = _STYLES.get(remark.kind, "$foreground-muted")
    kind = remark.kind.removeprefix("run_")
    return Content.assemble(
        (f"{remark.wall[11:19]} ", "$foreground-muted"), (f"{kind} ", style), f"{who}{remark.text}".replace("\n", " ")
    )


def failures(model: RunModel, step: int) -> Content | None:
    """Return which acts came to nothing last."""
    bad = np.flatnonzero(model.steps.status[: step + 1] >= IN_VAIN)
    if not bad.size:
        return None
    named = ", ".join(f"{k} {STATUSES[int(model.steps.status[k])]}" for k in bad[-3:][::-1])
    return Content.assemble((f"{bad.size} acts in vain, ", "$warning"), f"the last: {named}")
