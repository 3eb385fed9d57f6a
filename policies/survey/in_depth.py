"""A campaign inside each of the best finds: another policy, on the pixels of a small field around the particle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from autoscope.chance import stream
from autoscope.errors import ConfigError
from autoscope.exposure import electrons
from autoscope.protocols import JsonValue, Planner, Policy
from autoscope.purposes import INSIDE
from autoscope.records import Decision, Finish, Result, Stage, View
from autoscope.registry import load
from autoscope.wishes import NO_WISHES
from policies.survey.config import InDepthConfig

DEPTH = INSIDE
"""Errand of a travel decision, and purpose of the spectra of such a campaign."""
SPECTRUM = "spectrum"
MOST_IN_VAIN = 3
"""Acts one after the other that come to nothing, and end a campaign: the place has had its dose, say."""


class InDepth:
    """Keeps which finds were gone into, and the campaign under way; a fold over what was told.

    Parameters
    ----------
    config : InDepthConfig or None
        Which policy, on how many finds, for how long; None: on none.
    target : str
        What the campaign learns from where its options name nothing else.
    seed : int
        Each campaign has a stream of chance of its own.
    of : str
        What a find is called, in the targets of its acts.
    """

    def __init__(self, config: InDepthConfig | None, target: str, seed: int, of: str = "particle") -> None:
        self._config, self._target, self._seed, self._of = config, target, seed, of
        if config is not None:
            campaign_of(config, target)  # what is wrong with it is said before the night, not in the middle
        self._done: list[int] = []
        self._inner: Policy | None = None
        self._particle = -1
        self._centre_m = (0.0, 0.0)
        self._began_s = 0.0
        self._in_vain = 0

    def todo(self, finds: list[int]) -> list[int]:
        """Return the best finds that no campaign was begun on, the highest first."""
        if self._config is None:
            return []
        return [particle for particle in finds[: self._config.finds] if particle not in self._done]

    @property
    def time_s(self) -> float:
        """Return what a campaign may take at most."""
        return self._config.time_s if self._config else 0.0

    def begin(self, particle: int, centre_m: tuple[float, float], time_s: float) -> None:
        """Begin a campaign on a particle that now lies at an offset from the axis."""
        self._done.append(particle)
        self._particle, self._centre_m, self._began_s = particle, centre_m, time_s
        self._in_vain = 0
        self._inner = self._made()

    def _made(self) -> Policy | None:
        if self._config is None:
            return None
        plugin, options = campaign_of(self._config, self._target)
        overview = options.overview.replace(centre_x_m=self._centre_m[0], centre_y_m=self._centre_m[1])
        rng = stream(self._seed, f"in depth {self._particle}")
        policy: Policy = plugin(options.replace(overview=overview), rng=rng)
        return policy

    def next_decision(self, view: View) -> Decision | None:
        """Return the next act of the campaign under way, or None where it has come to its end."""
        if self._inner is None or self._in_vain >= MOST_IN_VAIN:
            return None
        left_s = self._began_s + self.time_s - view.state.time_s
        budget = view.budget.replace(time_s=left_s if view.budget.time_s is None else min(left_s, view.budget.time_s))
        decision = self._inner.ask(view.replace(budget=budget, wishes=NO_WISHES)) if left_s > 0.0 else None
        if decision is None or isinstance(decision, Finish):
            return None
        purpose = DEPTH if decision.purpose == SPECTRUM else decision.purpose
        return decision.replace(target=f"{self._of} {self._particle}: {decision.target}", purpose=purpose)

    def tell(self, decision: Decision, result: Result) -> None:
        """Take in what came of an act of the campaign."""
        if self._inner is None:
            return
        self._in_vain = 0 if result.outcome.status == "done" else self._in_vain + 1
        purpose = SPECTRUM if decision.purpose == DEPTH else decision.purpose
        target = decision.target.partition(": ")[2]
        self._inner.tell(decision.replace(target=target, purpose=purpose), result)

    def end(self) -> None:
        """Learn that the stage has left: the campaign is over."""
        self._inner, self._particle = None, -1

    def summary(self) -> str:
        """Return how many finds were gone into, as a clause; empty where there were none to be."""
        return f", {len(self._done)} finds gone into with {self._config.policy.name}" if self._config else ""

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "done": list(self._done),
            "particle": self._particle,
            "centre_m": list(self._centre_m),
            "began_s": self._began_s,
            "in_vain": self._in_vain,
            "inner": self._inner.state() if self._inner else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._done, self._particle = [int(p) for p in state["done"]], int(state["particle"])
        self._centre_m = (float(state["centre_m"][0]), float(state["centre_m"][1]))
        self._began_s, self._in_vain = float(state["began_s"]), int(state.get("in_vain", 0))
        self._inner = None
        if state["inner"] is not None and (made := self._made()) is not None:
            made.restore(state["inner"])
            self._inner = made


def campaign_of(config: InDepthConfig, target: str) -> tuple[Any, Any]:
    """Return the class of the campaign's policy and its validated options.

    Raises
    ------
    PluginError
        No such policy.
    ConfigError
        Its options are wrong, or it is no policy for one field of view.
    """
    where, plugin = "in_depth: policy", load("policies", config.policy.name)
    if "overview" not in plugin.Config.model_fields:
        what, remedy = "is no policy for one field of view", "Take imaging, deep_kernel, gp, ..."
        raise ConfigError(what, where=where, value=config.policy.name, remedy=remedy)
    try:
        return plugin, plugin.Config.model_validate({"target": target} | config.policy.options)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(first["msg"], where=f"{where}: options: {field}", value=first["input"]) from error


def planned_in_depth(config: InDepthConfig | None, target: str, view: View) -> list[Stage]:
    """Return the stage of all campaigns: as their policy plans, else as long as they may be with the beam on."""
    if config is None:
        return []
    plugin, options = campaign_of(config, target)
    policy = plugin(options, rng=stream(0, "plan"))
    left_s = view.budget.time_s
    each = view.budget.replace(time_s=config.time_s if left_s is None else min(config.time_s, left_s))
    stages = policy.plan(view.replace(budget=each)) if isinstance(policy, Planner) else ()
    most_e = electrons(view.state.beam_current_a, config.time_s)
    finds, acts = config.finds, tuple(example for stage in stages for example in stage.examples)
    return [
        Stage(
            name="in depth",
            acts=finds * sum(s.acts for s in stages),
            time_s=finds * (sum(s.time_s for s in stages) if stages else config.time_s),
            dose_e=finds * (sum(s.dose_e for s in stages) if stages else most_e),
            bytes=finds * sum(s.bytes for s in stages),
            note=f"{config.policy.name} on the {finds} best finds",
            examples=acts,
        )
    ]
