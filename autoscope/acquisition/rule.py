"""An acquisition function by name with its parameters, as written in a configuration."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from autoscope.acquisition import functions
from autoscope.acquisition.cost import Scale, per_cost
from autoscope.acquisition.entropy import draw_maxima, max_value_entropy
from autoscope.acquisition.integrated import integrated_variance
from autoscope.acquisition.tabulated import Array, Floats
from autoscope.config import ConfigModel
from autoscope.surrogates.surrogate import Surrogate

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Name = Literal[
    "upper_confidence_bound",
    "expected_improvement",
    "probability_of_improvement",
    "max_value_entropy",
    "max_variance",
    "integrated_variance",
    "thompson",
    "straddle",
    "novelty",
]


class AcquisitionRule(ConfigModel):
    """Which measurement is worth most."""

    name: Name = "upper_confidence_bound"
    """"upper_confidence_bound" finds all that is high, "expected_improvement" the highest, "max_value_entropy" learns
    how high the highest is, "integrated_variance" makes the whole map surer, "max_variance" looks where least is
    known, "straddle" traces the contour at a level, "novelty" collects different values, "thompson" draws."""
    kappa: float = Field(default=2.0, ge=0.0)
    """Standard deviations an uncertain candidate is given credit for (upper_confidence_bound, straddle)."""
    level: float | None = None
    """The level to trace, in the unit of the target (straddle)."""
    goal: Literal["maximise", "minimise"] = "maximise"
    """Whether high or low values of the target are wanted; without meaning for variances, straddle, novelty."""
    maxima: PositiveInt = 8
    """Plausible values of the maximum drawn for each decision (max_value_entropy)."""

    @model_validator(mode="after")
    def _straddle_has_a_level(self) -> AcquisitionRule:
        if self.name == "straddle" and self.level is None:
            raise ValueError("straddle needs a level, in the unit of the target")
        return self

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters that matter for this rule."""
        match self.name:
            case "upper_confidence_bound":
                return {"kappa": self.kappa}
            case "straddle":
                return {"kappa": self.kappa, "level": self.level or 0.0}
            case "max_value_entropy":
                return {"maxima": float(self.maxima)}
            case _:
                return {}

    @property
    def words(self) -> str:
        """The rule's name for people."""
        return self.name.replace("_", " ")

    @property
    def sign(self) -> float:
        """1 where high values are wanted, -1 where low ones are."""
        return 1.0 if self.goal == "maximise" else -1.0

    @property
    def scale(self) -> Scale:
        """Whether the rule's values are logs of a gain."""
        return "log" if self.name in ("expected_improvement", "probability_of_improvement") else "gain"

    def evaluate(
        self,
        mean: Floats,
        std: Floats,
        *,
        measured_mean: Array,
        seen: Array,
        model: Surrogate,
        rng: np.random.Generator,
        cost: Floats | None = None,
        forbidden: Mask | None = None,
        pending: Indices | None = None,
    ) -> Floats:
        """Return the value of each candidate, shape (m,); higher is better, whatever the goal.

        Parameters
        ----------
        mean, std : array
            Of the model over its pool, (m,), float32 or float64.
        measured_mean : array
            The model's mean at the measured points, (n,). An improvement must exceed the best of these, which is
            safer under noise than the best measured value.
        seen : array
            Values measured so far, (n,).
        model : Surrogate
            To draw from (thompson).
        rng : numpy.random.Generator
            Chance for the draw.
        forbidden : array of bool, optional
            Candidates that will not be chosen, (m,): rules that look at a random few of them pass these over.
        pending : array of int64, optional
            Candidates being measured now, by index; ``std`` knows of them already.
        cost : array, optional
            Positive cost of each candidate, (m,); values are then per unit of it, see `cost.per_cost`. A confidence
            bound or a drawn function counts from the best of ``measured_mean`` on.
        """
        best = float(np.max(self.sign * measured_mean))
        if self.name == "integrated_variance":
            barred = np.zeros(len(mean), dtype=np.bool_) if forbidden is None else forbidden
            values: Floats = integrated_variance(model, np.asarray(std, dtype=np.float64), barred, rng, pending)
        else:
            values = self._worth(mean, std, best, seen, model, rng)
        if cost is None:
            return values
        reference = best if self.name in ("upper_confidence_bound", "thompson") else 0.0
        return per_cost(values, cost, self.scale, reference)

    def _worth(
        self, mean: Floats, std: Floats, best: float, seen: Array, model: Surrogate, rng: np.random.Generator
    ) -> Floats:
        wanted = mean if self.goal == "maximise" else -mean
        match self.name:
            case "upper_confidence_bound":
                return functions.upper_confidence_bound(wanted, std, self.kappa)
            case "expected_improvement":
                return functions.log_expected_improvement(wanted, std, best)
            case "probability_of_improvement":
                return functions.log_probability_of_improvement(wanted, std, best)
            case "max_value_entropy":
                return max_value_entropy(wanted, std, draw_maxima(wanted, std, self.maxima, rng, best))
            case "max_variance" | "integrated_variance":
                return functions.max_variance(std)
            case "thompson":
                return self.sign * functions.thompson(model, rng)
            case "straddle":
                return functions.straddle(mean, std, self.level or 0.0, self.kappa)
            case "novelty":
                return functions.novelty(mean, std, seen)
