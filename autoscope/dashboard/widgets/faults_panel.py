"""What came to nothing, and how often."""

from __future__ import annotations

import numpy as np
from textual.content import Content

from autoscope.dashboard.columns import IN_VAIN, STATUSES
from autoscope.dashboard.panel import TextPanel, pair
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.verdict import faults_in_a_row

_SHOWN = 12


class FaultsPanel(TextPanel):
    """Counts by status and purpose, faults told by the engine, the last acts in vain."""

    TITLE = "faults"

    def show(self, sight: Sight) -> None:
        """Show the faults up to the moment."""
        steps = sight.model.steps.until(sight.step + 1)
        bad = np.flatnonzero(steps.status >= IN_VAIN)
        told = [r for r in sight.remarks if r.kind == "fault"]
        if not bad.size and not told:
            self.update(Content.from_markup("[$success]none[/]"))
            return
        limit = int(sight.model.number("engine", "max_consecutive_faults") or 5)
        row = faults_in_a_row(sight.model)
        lines = [Content(f"{bad.size} of {steps.concluded()} acts in vain; {row} in a row, the run ends at {limit}")]
        for status in range(STATUSES.index("refused"), len(STATUSES)):
            mine = bad[steps.status[bad] == status]
            if mine.size:
                purposes = ", ".join(sorted({steps.purpose_of(int(k)) for k in mine[-200:]}))
                lines.append(Content.assemble((f"{mine.size} {STATUSES[status]} ", "$warning"), purposes))
        lines += [pair(f"act {k} ", STATUSES[int(steps.status[k])], 8) for k in bad[::-1][:_SHOWN]]
        lines += [Content.assemble(("fault ", "$error"), r.text) for r in told[-_SHOWN:]]
        self.update(Content("\n").join(lines))
