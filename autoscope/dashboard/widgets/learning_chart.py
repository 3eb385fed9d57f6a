"""The learning curve: what each act measured, and the best so far."""

from __future__ import annotations

import numpy as np
from textual.strip import Strip

from autoscope.dashboard.learning import learning
from autoscope.dashboard.panel import DrawnPanel
from autoscope.dashboard.plotting import Chart, Series, draw
from autoscope.dashboard.sight import Sight


class LearningChart(DrawnPanel):
    """Measured values as dots, the best so far as a line."""

    TITLE = "learning"

    def show(self, sight: Sight) -> None:
        """Show the curve up to the moment."""
        target = sight.model.target
        unit = sight.model.steps.units.get(target, "")
        self.border_title = f"learning: {target} / {unit}" if unit else f"learning: {target or 'nothing measured'}"
        super().show(sight)

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the chart."""
        if self.sight is None:
            return []
        model = self.sight.model
        curve = learning(model.steps.until(self.sight.step + 1), model.target, least=model.seeks_least)
        at = curve.steps.astype(np.float64)
        dots = Series(at, curve.values, self.tint("accent"), joined=False)
        best = Series(np.append(at, self.sight.step), np.append(curve.best, curve.best[-1:]), self.tint("warning"))
        best = best if len(at) else Series(at, curve.best, best.colour)
        return draw(Chart((dots, best), x_label="act"), columns, lines, self.tint("foreground"))
