"""An acquisition function by name with its parameters, as written in a configuration."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from autoscope.acquisition import functions
from autoscope.config import ConfigModel
from autoscope.surrogates.surrogate import Surrogate

Array = NDArray[np.float64]

Name = Literal[
    "upper_confidence_bound",
    "expected_improvement",
    "probability_of_improvement",
    "max_variance",
    "thompson",
    "straddle",
    "novelty",
]


class AcquisitionRule(ConfigModel):
    """Which measurement is worth most."""

    name: Name = "upper_confidence_bound"
    """"upper_confidence_bound" finds all that is high, "expected_improvement" the highest, "max_variance" maps,
    "straddle" traces the contour at a level, "novelty" collects different values, "thompson" draws."""
    kappa: float = Field(default=2.0, ge=0.0)
    """Standard deviations an uncertain candidate is given credit for (upper_confidence_bound, straddle)."""
    level: float | None = None
    """The level to trace, in the unit of the target (straddle)."""
    goal: Literal["maximise", "minimise"] = "maximise"
    """Whether high or low values of the target are wanted; without meaning for max_variance, straddle, novelty."""

    @model_validator(mode="after")
    def _straddle_has_a_level(self) -> AcquisitionRule:
        if self.name == "straddle" and self.level is None:
            raise ValueError("straddle needs a level, in the unit of the target")
        return self

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters that matter for this rule."""
        if self.name == "upper_confidence_bound":
            return {"kappa": self.kappa}
        if self.name == "straddle":
            return {"kappa": self.kappa, "level": self.level or 0.0}
        return {}

    @property
    def words(self) -> str:
        """The rule's name for people."""
        return self.name.replace("_", " ")

    @property
    def sign(self) -> float:
        """1 where high values are wanted, -1 where low ones are."""
        return 1.0 if self.goal == "maximise" else -1.0

    def evaluate(
        self,
        mean: Array,
        std: Array,
        *,
        measured_mean: Array,
        seen: Array,
        model: Surrogate,
        rng: np.random.Generator,
    ) -> Array:
        """Return the value of each candidate, shape (m,); higher is better, whatever the goal.

        Parameters
        ----------
        mean, std : array
            Of the model over its pool, (m,).
        measured_mean : array
            The model's mean at the measured points, (n,). An improvement must exceed the best of these, which is
            safer under noise than the best measured value.
        seen : array
            Values measured so far, (n,).
        model : Surrogate
            To draw from (thompson).
        rng : numpy.random.Generator
            Chance for the draw.
        """
        wanted, best = self.sign * mean, float(np.max(self.sign * measured_mean))
        match self.name:
            case "upper_confidence_bound":
                return functions.upper_confidence_bound(wanted, std, self.kappa)
            case "expected_improvement":
                return functions.log_expected_improvement(wanted, std, best)
            case "probability_of_improvement":
                return functions.log_probability_of_improvement(wanted, std, best)
            case "max_variance":
                return functions.max_variance(std)
            case "thompson":
                return self.sign * functions.thompson(model, rng)
            case "straddle":
                return functions.straddle(mean, std, self.level or 0.0, self.kappa)
            case "novelty":
                return functions.novelty(mean, std, seen)
