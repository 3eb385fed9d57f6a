"""A person chooses what is measured; another policy suggests, and decides where nobody answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, ValidationInfo, model_validator

from autoscope.config import ConfigModel, PluginConfig
from autoscope.errors import AutoscopeError, ModelError
from autoscope.model_maps import ModelMaps
from autoscope.protocols import Anticipating, Estimating, JsonValue, Pictorial, Planner, Policy, Steerable
from autoscope.quantities import FROM_FILE, PositiveDuration
from autoscope.records import Candidate, Decision, Finish, Measure, Result, Stage, View, Wait
from autoscope.registry import load
from autoscope.wishes import Wishes
from policies.field import RUNNERS_UP, FieldConfig
from policies.learning import LEFT

Array = NDArray[np.float64]
PERSON = "person"
"""``decided_by`` of a decision that a person made."""
PAUSE = "waiting for a person"
"""``acquisition`` of the waits of this policy, of which the advisor is not told."""


class TurnsConfig(ConfigModel):
    """Which measurements the person chooses; all others are the advisor's."""

    when: Literal["always", "every", "first", "unsure"] = "always"
    """"every": each ``every``-th; "first": the first ``first``; "unsure": where the advisor does not know."""
    every: PositiveInt = 2
    first: PositiveInt = 10
    std_above: PositiveFloat = 0.5
    """Unsure where the expected value's standard deviation is more than this part of that of the values so far."""
    gap_below: float = Field(default=0.5, ge=0.0)
    """Or where the two best suggestions are expected to differ by less than so many of their standard deviations."""

    def words(self) -> str:
        """Return whose turn it is, as a phrase."""
        known = {
            "every": f"the person chooses every {self.every}. measurement",
            "first": f"the person chooses the first {self.first} measurements",
            "unsure": "the person chooses where the advisor is unsure",
        }
        return known.get(self.when, "the person chooses every measurement")


class HumanConfig(FieldConfig):
    """Settings of a person at the helm. What they say of the field of view holds for the advisor too."""

    advisor: PluginConfig = PluginConfig(name="gp")
    """Another policy, which suggests at every step, learns from every measurement, and takes the overview."""
    wait_s: PositiveDuration = 60.0
    """How long the person has for each choice, in people's time."""
    on_silence: Literal["take_suggestion", "wait", "finish"] = "take_suggestion"
    """"wait": blanked, for ``pause``, and then the person is asked again; "finish": the run ends."""
    pause_s: PositiveDuration = 10.0
    turns: TurnsConfig = TurnsConfig()

    @model_validator(mode="after")
    def _advised(self, info: ValidationInfo) -> Self:
        """Fill in the advisor's options, each validated by itself."""
        if self.advisor.name == "human":
            raise ValueError("a person cannot be advised by the policy human: name another, e.g. gp")
        try:
            config = load("policies", self.advisor.name).Config
            known = {field.alias or name for name, field in config.model_fields.items()}
            shared = {name: value for name, value in self.plain().items() if name in known & SHARED}
            options = config.model_validate(shared | self.advisor.options, context=FROM_FILE).plain()
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(map(str, first["loc"]))
            raise ValueError(f"advisor {self.advisor.name}: {at}: {first['msg']}") from error
        except AutoscopeError as error:
            raise ValueError(f"advisor: {error}") from error
        object.__setattr__(self, "advisor", PluginConfig(name=self.advisor.name, options=options))
        return self


SHARED = frozenset(field.alias or name for name, field in FieldConfig.model_fields.items())


class HumanPolicy:
    """Asks a person, with an advisor's suggestions at hand, and says of every decision whose it was.

    What a person chooses comes as an order: a place to go to, the word that the suggestion is fine, or a veto. The
    advisor is told every outcome, whoever decided, so its suggestions know what the person measured.
    """

    Config: ClassVar[type[HumanConfig]] = HumanConfig
    lookahead: ClassVar[bool] = False
    """A person is asked when the last outcome is there to be seen."""

    def __init__(self, config: HumanConfig, *, rng: np.random.Generator) -> None:
        self.config = config
        plugin = load("policies", config.advisor.name)
        options = plugin.Config.model_validate(config.advisor.options, context=FROM_FILE)
        self._advisor: Policy = plugin(options, rng=rng)
        self._measured_ = self._n_ = 0
        self._mean_ = self._squares_ = 0.0

    # --- the decision -------------------------------------------------------------------------------

    def ask(self, view: View) -> Decision | Finish:
        """Return the person's choice, a suggestion for the person, or what the advisor decides by itself."""
        advice = self._advisor.ask(view)
        if isinstance(advice, Finish) or not isinstance(advice.action, Measure):
            return advice
        if view.wishes.sent and advice.order == view.wishes.sent:
            return self._chosen(advice, view)
        if advice.consult_s is not None:
            return advice  # the advisor wants to know something itself
        if not self._is_turn(advice):
            return advice.replace(reason=f"{advice.reason} The advisor's own: {self.config.turns.words()}.")
        if view.silence_s is None:
            return advice.replace(consult_s=self.config.wait_s)
        return self._unanswered(advice, view.silence_s)

    def _chosen(self, followed: Decision, view: View) -> Decision:
        """Return a measurement where the person wants it, with what the advisor suggested instead."""
        alone = view.replace(wishes=view.wishes.replace(within=None, sent="", sent_by=""))
        advice = self._advisor.ask(alone)  # last, so that its maps show all places
        others = _ranked(advice) if isinstance(advice, Decision) else ()
        agreed = isinstance(advice, Decision) and advice.action == followed.action
        aside = "as the advisor suggested" if agreed else "not what the advisor suggested"
        return followed.replace(
            reason=f"Chosen by {view.wishes.sent_by or 'a person'}, {aside}. {followed.reason}",
            decided_by=PERSON,
            runners_up=others[1:] if agreed else others[:RUNNERS_UP],
            acquisition_parameters={k: v for k, v in followed.acquisition_parameters.items() if k != LEFT},
        )

    def _unanswered(self, advice: Decision, silence_s: float) -> Decision | Finish:
        silence = f"after {silence_s:.3g} s of silence" if silence_s else "since nobody attends the run"
        match self.config.on_silence:
            case "take_suggestion":
                return advice.replace(reason=f"The advisor's, {silence}. {advice.reason}")
            case "finish":
                return Finish(reason=f"Nobody chose: finished {silence}.")
            case _:
                action = Wait(duration_s=self.config.pause_s)
                reason = f"Nobody chose: waiting {silence}, and then asking again."
                return Decision(action=action, purpose="wait", reason=reason, acquisition=PAUSE)

    def _is_turn(self, advice: Decision) -> bool:
        turns = self.config.turns
        match turns.when:
            case "every":
                return (self._measured_ + 1) % turns.every == 0
            case "first":
                return self._measured_ < turns.first
            case "unsure":
                return self._is_unsure(advice)
            case _:
                return True

    def _is_unsure(self, advice: Decision) -> bool:
        """Return whether the advisor expects nothing in particular, or cannot tell its two best suggestions apart."""
        mean, std = advice.predicted_mean, advice.predicted_std
        if mean is None or std is None:
            return True
        spread = math.sqrt(self._squares_ / (self._n_ - 1)) if self._n_ > 1 else 0.0
        if std > self.config.turns.std_above * spread:
            return True
        second = advice.runners_up[0] if advice.runners_up else None
        if second is None or second.mean is None or second.std is None:
            return False
        return abs(mean - second.mean) < self.config.turns.gap_below * math.hypot(std, second.std)

    # --- what was told ------------------------------------------------------------------------------

    def tell(self, decision: Decision, result: Result) -> None:
        """Learn from an outcome, and let the advisor learn from it."""
        if decision.acquisition == PAUSE:
            return
        if isinstance(decision.action, Measure) and not result.outcome.overruled:
            self._measured_ += 1
            scalar = result.value(self.config.target)
            if scalar is not None and result.outcome.status == "done":
                self._take(scalar.value)
        self._advisor.tell(decision, result)

    def _take(self, value: float) -> None:
        """Count a value (Welford 1962)."""
        self._n_ += 1
        step = value - self._mean_
        self._mean_ += step / self._n_
        self._squares_ += step * (value - self._mean_)

    def state(self) -> dict[str, JsonValue]:
        """Return the counts and the advisor's state."""
        counts = {"measured": self._measured_, "n": self._n_, "mean": self._mean_, "squares": self._squares_}
        return {**counts, "advisor": self._advisor.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; see `autoscope.protocols.Policy.restore`."""
        self._measured_, self._n_ = int(state["measured"]), int(state["n"])
        self._mean_, self._squares_ = float(state["mean"]), float(state["squares"])
        self._advisor.restore(state["advisor"])

    @property
    def checkpointed(self) -> bool:
        """Whether the advisor loses nothing when it takes up its own state."""
        return bool(getattr(self._advisor, "checkpointed", False))

    # --- what the advisor can ------------------------------------------------------------------------

    @property
    def follows(self) -> frozenset[str]:
        """The advisor's; see `autoscope.protocols.Steerable`."""
        return self._advisor.follows if isinstance(self._advisor, Steerable) else frozenset()

    def check_wishes(self, wishes: Wishes) -> None:
        """Return where the advisor can follow these wishes."""
        if isinstance(self._advisor, Steerable):
            self._advisor.check_wishes(wishes)

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return the advisor's plan; a person's choices cost what its own do."""
        return self._advisor.plan(view) if isinstance(self._advisor, Planner) else ()

    def prepare(self, view: View) -> None:
        """Let the advisor work ahead while an act runs."""
        if isinstance(self._advisor, Anticipating):
            self._advisor.prepare(view)

    def maps(self) -> ModelMaps | None:
        """Return what the advisor thinks of every place."""
        return self._advisor.maps() if isinstance(self._advisor, Pictorial) else None

    def estimate(self) -> tuple[Array, Array]:
        """Return the advisor's belief over the candidates.

        Raises
        ------
        ModelError
            It has none, or none yet.
        """
        if not isinstance(self._advisor, Estimating):
            raise ModelError("the advisor has no belief over the candidates", value=self.config.advisor.name)
        return self._advisor.estimate()


def _ranked(advice: Decision) -> tuple[Candidate, ...]:
    """Return what an advisor suggested, best first."""
    mean, std, value = advice.predicted_mean, advice.predicted_std, advice.acquisition_value
    return (Candidate(action=advice.action, mean=mean, std=std, value=value), *advice.runners_up)
