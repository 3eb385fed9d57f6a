"""From a configuration document to the parts of a run, every option validated by the plug-in it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from autoscope.chance import stream
from autoscope.clock import SimClock, SystemClock
from autoscope.config import ConfigModel, Document, PluginConfig, RunConfig
from autoscope.engine.dark import Darks
from autoscope.engine.preparing import decider, prepared
from autoscope.errors import ConfigError, PluginError
from autoscope.interventions import SetScalarizer
from autoscope.protocols import Clock, Environment, Policy, Scalarizer
from autoscope.registry import load


@dataclass(frozen=True)
class Choice:
    """A plug-in class with its validated options."""

    name: str
    plugin: Any
    options: ConfigModel

    def plain(self) -> dict[str, Any]:
        """Return name and resolved options as plain data."""
        return {"name": self.name, "options": self.options.plain()}


@dataclass(frozen=True)
class Resolved:
    """A configuration whose every part has been validated; nothing has been made yet."""

    config: RunConfig
    environment: Choice
    policy: Choice
    scalarizers: dict[str, Choice]

    def plain(self) -> dict[str, Any]:
        """Return the whole configuration with all defaults filled in; it parses to itself."""
        parts = {
            "environment": self.environment.plain(),
            "policy": self.policy.plain(),
            "scalarizers": {name: choice.plain() for name, choice in self.scalarizers.items()},
        }
        return self.config.plain() | parts


@dataclass(frozen=True)
class Job:
    """The living parts of a run."""

    resolved: Resolved
    environment: Environment
    policy: Policy
    scalarizers: dict[str, Scalarizer]
    clock: Clock
    darks: Darks = field(default_factory=Darks)
    """What is subtracted from frames; empty until a dark reference was taken."""

    @property
    def config(self) -> RunConfig:
        """Return the run's configuration."""
        return self.resolved.config

    def plugins(self) -> tuple[Any, ...]:
        """Return the living plug-ins: environment, policy, scalarizers."""
        return (self.environment, decider(self.policy), *self.scalarizers.values())


def resolve(document: Document) -> Resolved:
    """Validate a run's document down to every plug-in option.

    Raises
    ------
    ConfigError
        With file, line and field of everything that is wrong, and the nearest names.
    """
    config = document.validate(RunConfig)
    environment = choose(document, "environments", config.environment, ("environment",))
    nested = getattr(environment.options, "instrument", None)
    if isinstance(nested, PluginConfig):
        choose(document, "instruments", nested, ("environment", "options", "instrument"))
    policy = choose(document, "policies", config.policy, ("policy",))
    scalarizers = {
        name: choose(document, "scalarizers", part, ("scalarizers", name)) for name, part in config.scalarizers.items()
    }
    resolved = Resolved(config, environment, policy, scalarizers)
    _check_target(document, resolved)
    _check_lookahead(document, resolved)
    return resolved


def choose(document: Document, kind: str, part: PluginConfig, at: tuple[str, ...]) -> Choice:
    """Return a plug-in with the options a document gives it below ``at``, validated by its own ``Config``.

    Raises
    ------
    ConfigError
        No such plug-in, or options it does not take, with file, line and field.
    """
    try:
        plugin = load(kind, part.name)
    except PluginError as error:
        raise ConfigError(str(error), where=document.where((*at, "name"))) from error
    return Choice(part.name, plugin, document.validate(plugin.Config, (*at, "options")))


def _check_target(document: Document, resolved: Resolved) -> None:
    target = getattr(resolved.policy.options, "target", None)
    if target is not None and target not in resolved.scalarizers:
        raise ConfigError(
            "the policy's target is not among the scalarizers",
            where=document.where(("policy", "options", "target")),
            value=target,
            limit=", ".join(resolved.scalarizers) or "no scalarizers given",
            remedy=f"Add 'scalarizers: {{{target}: {{name: ...}}}}' (see 'autoscope list scalarizers')",
        )


def _check_lookahead(document: Document, resolved: Resolved) -> None:
    if resolved.config.engine.lookahead and not getattr(resolved.policy.plugin, "lookahead", False):
        raise ConfigError(
            "this policy cannot decide while an act is still running: it needs every outcome first",
            where=document.where(("engine", "lookahead")),
            value=resolved.policy.name,
            remedy="Leave 'lookahead' out, or choose a policy with 'lookahead = True', such as gp",
        )


def make_policy(resolved: Resolved) -> Policy:
    """Return the policy of a run with its random stream, behind what prepares the instrument for it."""
    policy = resolved.policy.plugin(resolved.policy.options, rng=stream(resolved.config.seed, "policy"))
    return prepared(policy, resolved.config)


def assemble(resolved: Resolved, clock: Clock | None = None) -> Job:
    """Make the parts of a run, each with its own random stream from the run's seed.

    Parameters
    ----------
    resolved : Resolved
        The validated configuration.
    clock : Clock, optional
        The run's clock, where it is taken up; a new one of the configured kind by default.
    """
    config = resolved.config
    clock = clock or (SimClock() if config.clock == "simulated" else SystemClock())
    environment = resolved.environment.plugin(resolved.environment.options, clock=clock, seed=config.seed)
    policy = make_policy(resolved)
    scalarizers = {name: choice.plugin(choice.options) for name, choice in resolved.scalarizers.items()}
    return Job(resolved, environment, policy, scalarizers, clock)


def make_scalarizer(name: str, options: Mapping[str, Any]) -> Scalarizer:
    """Return a scalarizer with options as they stand in a configuration.

    Raises
    ------
    PluginError
        There is none of that name.
    ConfigError
        The options are not its own, or out of range.
    """
    plugin = load("scalarizers", name)
    document = Document(yaml.safe_dump({"options": dict(options)}, allow_unicode=True), f"scalarizer {name}")
    made: Scalarizer = plugin(document.validate(plugin.Config, ("options",)))
    return made


def scalarizers_of(plain: Mapping[str, Any], changed: Mapping[str, SetScalarizer]) -> dict[str, Scalarizer]:
    """Return the scalarizers of a plain configuration by target, with those that people changed."""
    configured = {target: (part["name"], part.get("options") or {}) for target, part in plain["scalarizers"].items()}
    ordered = {target: (order.name, order.options) for target, order in changed.items()}
    return {target: make_scalarizer(*part) for target, part in (configured | ordered).items()}


def blank_state(policy: Policy) -> dict[str, Any] | None:
    """Return the state of a policy that was told nothing yet; None where it cannot say, so nothing can be retracted."""
    state = getattr(policy, "state", None)
    try:
        return None if state is None else dict(state())
    except Exception:  # it will say so itself where that matters
        return None
