"""What would be chosen next, as things are and under other settings: a pure function of the record.

A policy made anew is told what the run was told, and asked. The run, its policy and its instrument notice nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from autoscope.chance import stream
from autoscope.config import Document
from autoscope.engine.acting import guarded
from autoscope.engine.asking import Asked
from autoscope.engine.assemble import Resolved, resolve, scalarizers_of
from autoscope.engine.history import History, read_history
from autoscope.engine.rebuilding import Stored
from autoscope.engine.retelling import retell
from autoscope.engine.standing import Standing
from autoscope.errors import ConfigError, OrderRefused
from autoscope.interventions import Command
from autoscope.journal import Readable
from autoscope.protocols import Policy, Steerable
from autoscope.records import Candidate, Decision, Finish, Intervention, View

Choices = tuple[Decision | Candidate | Finish, ...]


@dataclass(frozen=True)
class Preview:
    """The next choices, first one first, as things are and otherwise.

    A policy that does not count with pending acts tells its next decision and the runners-up of that.
    """

    as_it_is: Choices
    otherwise: Choices

    @property
    def same_first(self) -> bool:
        """Whether the next act would be the same."""
        return _action(self.as_it_is) == _action(self.otherwise)


def what_if(
    journal: Readable, *, options: Sequence[str] = (), commands: Sequence[Command] = (), count: int = 5
) -> Preview:
    """Return the next choices of a run, and those under other settings.

    Parameters
    ----------
    journal : Readable
        Of a run that goes on or is over.
    options : sequence of str
        Other settings of its policy, ``name=value`` as in a configuration.
    commands : sequence of Command
        What somebody thinks of ordering: acquisition, marks, exclusions, a retraction, ...
    count : int
        How many choices.

    Raises
    ------
    ConfigError
        A setting is none of the policy's, or there is nothing to preview.
    OrderRefused
        The policy does not follow such a command.
    PluginError
        The policy cannot be told everything again.
    """
    if not (options or commands):
        raise ConfigError("nothing to compare with", remedy="Give another setting or a command")
    history = read_history(journal)
    now = _choices(history, journal, _resolved(history, ()), history.standing, count)
    standing = history.standing
    for command in commands:
        standing = standing.with_(_as_if(command))
    return Preview(now, _choices(history, journal, _resolved(history, options), standing, count))


def _as_if(command: Command) -> Intervention:
    arguments = command.model_dump(mode="json", exclude={"command"})
    return Intervention(who="what if", when="", why="", command=command.command, arguments=arguments)


def _resolved(history: History, options: Sequence[str]) -> Resolved:
    document = Document(yaml.safe_dump(history.config, sort_keys=False, allow_unicode=True), "recorded configuration")
    for assignment in options:
        document.override(f"policy.options.{assignment.strip()}")
    return resolve(document)


def _choices(history: History, journal: Readable, resolved: Resolved, standing: Standing, count: int) -> Choices:
    policy = resolved.policy.plugin(resolved.policy.options, rng=stream(resolved.config.seed, "policy"))
    _refuse_unfollowed(policy, standing, resolved.policy.name)
    scalarizers = scalarizers_of(history.config, standing.scalarizers) if standing.scalarizers else None
    retell(policy, policy.state(), history.outcomes(), Stored(journal), standing, scalarizers)
    return _next(policy, _view(history, standing), count)


def _refuse_unfollowed(policy: Policy, standing: Standing, name: str) -> None:
    wished = standing.wishes.named - {"excluded"}
    follows = policy.follows if isinstance(policy, Steerable) else frozenset()
    if wished - follows:
        raise OrderRefused(f"the policy {name} does not follow it ({', '.join(sorted(wished - follows))})")
    if isinstance(policy, Steerable):
        policy.check_wishes(standing.wishes)


def _view(history: History, standing: Standing) -> View:
    """Return what the policy would see now: the last it was asked, with the state and the wishes of now."""
    asked: list[Asked] = [act.asked for act in history.acts if act.asked is not None]
    if not asked:
        raise ConfigError("the run has not decided anything yet", remedy="Try again when it has measured something")
    last = asked[-1].again(history.capabilities, history.actions(), history.standing)
    return last.replace(
        step=len(history.acts), time_s=history.last_s - history.begun_s, state=history.last_state(), pending=(),
        wishes=standing.wishes,
    )  # fmt: skip


def _next(policy: Any, view: View, count: int) -> Choices:
    chosen: list[Decision] = []
    ahead = bool(getattr(policy, "lookahead", False))
    while len(chosen) < count:
        now = view.replace(pending=tuple(decision.action for decision in chosen))
        answer = guarded("policy.ask", lambda now=now: policy.ask(now))  # type: ignore[misc]
        if isinstance(answer, Finish):
            return (*chosen, answer)
        if not ahead:
            return (answer, *answer.runners_up)[:count]
        chosen.append(answer)
    return tuple(chosen)


def _action(choices: Choices) -> object:
    first = choices[0] if choices else None
    return first.reason if isinstance(first, Finish) else first.action if first else None
