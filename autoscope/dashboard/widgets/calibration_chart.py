"""How honest the model is: errors in units of the uncertainty it stated, and how many it covered."""

from __future__ import annotations

import numpy as np
from textual.strip import Strip

from autoscope.dashboard.learning import Z_90, honesty
from autoscope.dashboard.panel import DrawnPanel
from autoscope.dashboard.plotting import Chart, Series, draw
from autoscope.dashboard.sight import Sight


class CalibrationChart(DrawnPanel):
    """Each error as a dot between the lines that nine of ten should keep within."""

    TITLE = "calibration"

    def show(self, sight: Sight) -> None:
        """Show the errors up to the moment."""
        honest = honesty(sight.model.steps.until(sight.step + 1), sight.model.target)
        covered = honest.covered
        told = "no predictions yet" if covered is None else f"{covered:.0%} for 90%, n {honest.z.size}"
        self.border_title = f"calibration: {told}"
        super().show(sight)

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the chart."""
        if self.sight is None:
            return []
        honest = honesty(self.sight.model.steps.until(self.sight.step + 1), self.sight.model.target)
        at = honest.steps.astype(np.float64)
        ends = np.array([at[0], at[-1]]) if at.size else at
        edges = [Series(ends, np.full(len(ends), z), self.tint("warning")) for z in (-Z_90, Z_90)]
        dots = Series(at, np.clip(honest.z, -4.0, 4.0), self.tint("accent"), joined=False)
        chart = Chart((*edges, dots), x_label="act", y_label="z", y_limits=(-4.0, 4.0))
        return draw(chart, columns, lines, self.tint("foreground"))
