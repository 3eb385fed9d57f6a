"""A short campaign to watch a policy in: its questions, answers and outcomes, and the same again without the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autoscope.benchmark.config import BenchEnvironment
from autoscope.benchmark.grid import implied_options
from autoscope.chance import stream
from autoscope.config import BudgetConfig, Document, EngineConfig, PluginConfig, RunConfig
from autoscope.engine.assemble import Choice, Job, Resolved, assemble, choose
from autoscope.engine.events import RunEnd
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.protocols import JsonValue, Policy
from autoscope.quantities import FROM_FILE
from autoscope.records import Decision, Finish, Measure, Result, View

Answer = Decision | Finish

WORLD: dict[str, Any] = {
    "environment": {
        "name": "replay",
        "options": {
            "data": {
                "specimen": {
                    "specimen": {"kind": "nanoparticles", "extent": ["300 nm", "300 nm"], "count": 3},
                    "seed": 1,
                    "fov": "200 nm",
                    "side_px": 24,
                    "band": ["1.2 eV", "2.6 eV"],
                },
                "dwell": "50 ms",
            }
        },
    },
    "scalarizers": {"signal": {"name": "band_integral", "options": {"band": ["1.6 eV", "2.2 eV"]}}},
    "dwell": "50 ms",
}
"""Where policies are checked unless the caller says otherwise: one field of stored spectra, a task of a benchmark."""


@dataclass
class Tape:
    """What passed between a policy and the loop, in order."""

    questions: list[tuple[View, Answer]] = field(default_factory=list)
    told: list[tuple[Decision, Result]] = field(default_factory=list)
    asked_before: list[int] = field(default_factory=list)
    """How many questions had been answered when each outcome was told."""

    def measured(self) -> list[Measure]:
        """Return the measurements that were done, in order."""
        pairs = [(decision.action, result.outcome.status) for decision, result in self.told]
        return [action for action, status in pairs if isinstance(action, Measure) and status == "done"]


class Recorded:
    """Passes everything on to a policy and keeps it on a tape."""

    def __init__(self, policy: Policy, tape: Tape) -> None:
        self._policy, self._tape = policy, tape

    def ask(self, view: View) -> Answer:
        """Pass a question on."""
        answer = self._policy.ask(view)
        self._tape.questions.append((view, answer))
        return answer

    def tell(self, decision: Decision, result: Result) -> None:
        """Pass an outcome on."""
        self._tape.told.append((decision, result))
        self._tape.asked_before.append(len(self._tape.questions))
        self._policy.tell(decision, result)

    def state(self) -> dict[str, JsonValue]:
        """Return the policy's state."""
        return self._policy.state()

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Pass a state on."""
        self._policy.restore(state)


class Rehearsal:
    """A policy class and the world it is checked in.

    Parameters
    ----------
    plugin : type
        The class of the policy.
    options : mapping
        As they are written in a file; what the world implies (target, dwell, ...) is filled in.
    world : mapping
        A task, as under ``environments`` of a benchmark.
    steps : int
        Acts of a campaign.
    seed : int

    Raises
    ------
    ConfigError
        The world is no task.
    pydantic.ValidationError
        The policy's ``Config`` does not take the options.
    """

    def __init__(
        self, plugin: Any, options: Mapping[str, Any], world: Mapping[str, Any], steps: int, seed: int
    ) -> None:
        self.plugin, self.steps, self.seed = plugin, steps, seed
        document = Document.of({"world": dict(world)}, "world")
        task = document.validate(BenchEnvironment, ("world",))
        given = implied_options(plugin.Config, task, None) | dict(options)
        self.options = plugin.Config.model_validate(given, context=FROM_FILE)
        environment = choose(document, "environments", task.environment, ("world", "environment"))
        names = task.scalarizers.items()
        scalarizers = {n: choose(document, "scalarizers", part, ("world", "scalarizers", n)) for n, part in names}
        config = RunConfig(
            name="check",
            seed=seed,
            environment=task.environment,
            policy=PluginConfig(name=plugin.__name__),
            scalarizers=task.scalarizers,
            budget=BudgetConfig(steps=steps),
            engine=EngineConfig(max_consecutive_faults=steps + 1),
        )
        self.resolved = Resolved(config, environment, Choice(plugin.__name__, plugin, self.options), scalarizers)

    def fresh(self, seed: int | None = None) -> Policy:
        """Return the policy made anew, from the generator a run would give it."""
        policy: Policy = self.plugin(self.options, rng=stream(self.seed if seed is None else seed, "policy"))
        return policy

    def run(self, budget: BudgetConfig | None = None) -> tuple[Tape, RunEnd]:
        """Run a campaign in the world, by the engine."""
        config = self.resolved.config if budget is None else self.resolved.config.replace(budget=budget)
        job: Job = assemble(replace(self.resolved, config=config))
        tape = Tape()
        recorded = replace(job, policy=Recorded(job.policy, tape))
        return tape, Engine(recorded, MemoryJournal(clock=job.clock, keep_frames=False, deferred=True)).run()

    def again(self, tape: Tape, until: int | None = None) -> tuple[Policy, list[Answer]]:
        """Return a policy made anew that was asked and told all of a tape, with its own answers; without any world.

        Parameters
        ----------
        tape : Tape
        until : int, optional
            Stop after so many outcomes were told.
        """
        policy, answers = self.fresh(), list[Answer]()
        for nth, ((decision, result), asked) in enumerate(zip(tape.told, tape.asked_before)):
            if until is not None and nth == until:
                return policy, answers
            answers += [policy.ask(view) for view, _ in tape.questions[len(answers) : asked]]
            policy.tell(decision, result)
        answers += [policy.ask(view) for view, _ in tape.questions[len(answers) :]]
        return policy, answers


@contextmanager
def other_global_chance() -> Iterator[None]:
    """Set numpy's global generator elsewhere for a while: a policy that uses it decides differently."""
    before = np.random.get_state()  # noqa: NPY002  (it is the one that must not be used)
    np.random.seed(12345)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
