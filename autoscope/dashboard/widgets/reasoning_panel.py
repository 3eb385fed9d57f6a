"""Everything behind a decision: rule, model, data, time."""

from __future__ import annotations

from textual.content import Content

from autoscope.dashboard.details import StepDetail
from autoscope.dashboard.panel import TextPanel, pair
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.widgets.decision_panel import told
from autoscope.dashboard.wording import duration, electrons, quantity

_HYPERPARAMETERS = 6


class ReasoningPanel(TextPanel):
    """Why here: the reason, the rule and its parameters, the fit of the model, its honesty, what the choice was of."""

    TITLE = "why here?"

    def show(self, sight: Sight) -> None:
        """Show what is behind the decision looked at."""
        detail = sight.detail
        if detail is None:
            self.update("nothing decided yet")
            return
        self.border_title = f"why here? act {detail.step}"
        self.update(Content("\n").join([told(detail, sight.model.target), Content(""), *_behind(detail)]))


def _behind(detail: StepDetail) -> list[Content]:
    decision = detail.decision
    parameters = ", ".join(f"{n} {v:.4g}" for n, v in decision.acquisition_parameters.items())
    facts = [
        ("decided by", decision.decided_by),
        ("rule", f"{decision.acquisition.replace('_', ' ')} {f'({parameters})' if parameters else ''}".strip()),
        ("worth", "" if decision.acquisition_value is None else f"{decision.acquisition_value:.5g}"),
        ("choice of", f"{decision.candidates} places" if decision.candidates else ""),
        ("took", "" if detail.latency_s is None else quantity(detail.latency_s, "s")),
        ("costs", _cost(detail)),
        *_model(detail),
        ("data", decision.data_sha256[:16]),
        ("chance", decision.random_state_sha256[:16]),
        ("act", detail.act_id),
    ]
    return [pair(name, text, 12) for name, text in facts if text]


def _cost(detail: StepDetail) -> str:
    cost = detail.cost
    return f"{duration(cost.get('time_s'))}, {electrons(cost.get('dose_e'))}" if cost else ""


def _model(detail: StepDetail) -> list[tuple[str, str]]:
    fit, calibration = detail.decision.fit, detail.decision.calibration
    facts = []
    if fit is not None:
        evidence = "" if fit.log_evidence is None else f", log evidence {fit.log_evidence:.5g}"
        facts.append(("model", f"{fit.model} of {fit.n} measurements, {fit.rung}{evidence}"))
        numbers = ", ".join(f"{n} {v:.3g}" for n, v in list(fit.hyperparameters.items())[:_HYPERPARAMETERS])
        more = len(fit.hyperparameters) - _HYPERPARAMETERS
        facts.append(("settings", numbers + (f" and {more} more" if more > 0 else "")))
    if calibration is not None:
        text = (
            f"{calibration.coverage_90:.0%} of 90 % intervals held (n {calibration.n}), z {calibration.mean_z:.2f} ± "
        )
        facts.append(("honesty", f"{text}{calibration.std_z:.2f}, log score {calibration.log_score:.3f}"))
    return facts
