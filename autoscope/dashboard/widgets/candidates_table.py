"""What else was considered, and how it was valued."""

from __future__ import annotations

from textual.widgets import DataTable

from autoscope.actions import Action, Measure, MoveStage, Scan, SpectrumImage
from autoscope.dashboard.details import StepDetail
from autoscope.dashboard.panel import Viewer
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.wording import estimate, quantity


class CandidatesTable(DataTable[str], Viewer):
    """The choice and its runners-up, best first."""

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, classes="panel")
        self.border_title = "chosen, and what else was considered"
        self._shown: StepDetail | None = None

    def on_mount(self) -> None:
        """Name the columns."""
        self.add_columns("", "what", "where", "expected", "worth", "below the best")

    def show(self, sight: Sight) -> None:
        """Show the candidates of the decision looked at."""
        detail = sight.detail
        if detail is None or detail is self._shown:
            return
        self._shown = detail
        self.clear()
        decision = detail.decision
        best = decision.acquisition_value
        where, what = described(decision.action)
        mine = estimate(decision.predicted_mean, decision.predicted_std)
        self.add_row("\N{BLACK DIAMOND}", what, where, mine, _number(best), "")
        for k, other in enumerate(decision.runners_up):
            where, what = described(other.action)
            behind = None if best is None or other.value is None else best - other.value
            self.add_row(
                str(k + 1), what, where, estimate(other.mean, other.std), _number(other.value), _number(behind)
            )


def described(action: Action) -> tuple[str, str]:
    """Return where and what an action is, in a few words."""
    match action:
        case Measure():
            return _at(action.x_m, action.y_m), f"measure {quantity(action.dwell_s, 's')}"
        case Scan() | SpectrumImage():
            return _at(
                action.centre_x_m, action.centre_y_m
            ), f"{action.kind.replace('_', ' ')} {quantity(action.fov_m, 'm')}"
        case MoveStage():
            return _at(action.x_m, action.y_m), "move stage"
        case _:
            return "", action.kind.replace("_", " ")


def _at(x_m: float | None, y_m: float | None) -> str:
    return f"{quantity(x_m, 'm', 4)}, {quantity(y_m, 'm', 4)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
