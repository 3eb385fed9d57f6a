"""The grid: every cell with its complete configuration and a key that changes with all that its result depends on."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel

from autoscope.benchmark.code_version import code_version
from autoscope.benchmark.config import BenchBudget, BenchConfig, BenchEnvironment, Control
from autoscope.config import BudgetConfig, ConfigModel, Document, EngineConfig, PluginConfig, RunConfig
from autoscope.engine.assemble import Choice, Resolved, choose
from autoscope.errors import ConfigError, PluginError
from autoscope.provenance import provenance
from autoscope.registry import load

SPARE_ACTS = 10
"""Acts beside measurements that a budget of measurements leaves room for: overviews, moves, measurements in vain."""
CONTROL = "{name} [{control}]"


@dataclass(frozen=True)
class Cell:
    """One campaign to be run: labels, and everything it depends on as plain data."""

    environment: str
    policy: str
    budget: str
    repetition: int
    control: str
    """Which negative control it is; "" for none."""
    run: Mapping[str, Any]
    """Resolved configuration of the run, its seed included."""
    task: Mapping[str, Any]
    """Resolved `BenchEnvironment`: pool, truth, target."""
    measurements: int | None
    opening: int
    maps_at: tuple[int, ...]
    made_by: Mapping[str, Any]
    """Code, libraries and data files."""

    @functools.cached_property
    def key(self) -> str:
        """Return the name of the result: a sha256 over all it depends on, and over no label of a policy."""
        told = {name: value for name, value in self._plain().items() if name not in {"policy", "budget"}}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def text(self) -> str:
        """Return the cell as JSON, for another process."""
        return json.dumps(self._plain())

    def _plain(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the cell that `text` wrote."""
        plain = json.loads(text)
        return cls(**(plain | {"maps_at": tuple(plain["maps_at"])}))


@dataclass(frozen=True)
class Combination:
    """An environment, a policy and a budget whose every option has been validated: a cell but for its chance."""

    environment: str
    policy: str
    budget: str
    control: str
    run: Mapping[str, Any]
    task: Mapping[str, Any]
    measurements: int | None
    made_by: Mapping[str, Any]
    campaigns: tuple[Mapping[str, Any], ...] | None = None
    """Where each campaign has a policy of its own, as records of runs have: those, and there are no others."""


class Grid:
    """All combinations of a benchmark, and the cells of any repetition of them.

    Parameters
    ----------
    document : Document
        The configuration file.

    Raises
    ------
    ConfigError
        With file, line and field of everything that is wrong.
    """

    def __init__(self, document: Document) -> None:
        self.config = document.validate(BenchConfig)
        self.combinations = tuple(
            combination
            for label, task in self.config.environments.items()
            for combination in self._combine(document, label, task)
        )

    def cells(self, repetitions: Iterable[int]) -> Iterator[Cell]:
        """Yield the cells of some repetitions; those that share an environment and its chance come together."""
        for repetition in repetitions:
            for combination in self.combinations:
                if repetition - self.config.seeds.first < self._most(combination):
                    yield self.cell(combination, repetition)

    def _most(self, combination: Combination) -> float:
        """Return how many seeds a combination can have at most."""
        wanted = self.config.seeds.of.get(combination.policy, math.inf)
        return wanted if combination.campaigns is None else min(wanted, len(combination.campaigns))

    def cell(self, combination: Combination, repetition: int) -> Cell:
        """Return one cell."""
        seed = derived_seed(self.config.seed, combination.environment, repetition)
        own = combination.campaigns
        policy = {} if own is None else {"policy": own[repetition - self.config.seeds.first]}
        return Cell(
            environment=combination.environment,
            policy=combination.policy,
            budget=combination.budget,
            repetition=repetition,
            control=combination.control,
            run={**combination.run, **policy, "seed": seed},
            task=combination.task,
            measurements=combination.measurements,
            opening=self.config.opening,
            maps_at=self.config.maps_at,
            made_by=combination.made_by,
        )

    def _combine(self, document: Document, label: str, task: BenchEnvironment) -> Iterator[Combination]:
        at = ("environments", label)
        chosen = choose(document, "environments", task.environment, (*at, "environment"))
        scalarizers = {
            name: choose(document, "scalarizers", part, (*at, "scalarizers", name))
            for name, part in task.scalarizers.items()
        }
        for name, control, environment in _with_controls(document, label, task, chosen):
            for policy, part in self.config.policies.items():
                for budget in self.config.budgets:
                    rule = _policy(document, policy, part, task, budget)
                    run = _run(task, part, budget, self.config.decision_time_s)
                    resolved = Resolved(run, environment, rule, scalarizers)
                    yield Combination(
                        environment=name,
                        policy=policy,
                        budget=budget.label,
                        control=control,
                        run=resolved.plain(),
                        task=task.plain(),
                        measurements=budget.measurements,
                        made_by=made_by(resolved),
                        campaigns=_campaigns(rule),
                    )


def _campaigns(rule: Choice) -> tuple[Mapping[str, Any], ...] | None:
    campaigns = getattr(rule.options, "campaigns", None)
    return None if campaigns is None else tuple(replace(rule, options=one).plain() for one in campaigns())


def derived_seed(root: int, environment: str, repetition: int) -> int:
    """Return the seed of a run, the same for every policy: environments answer alike, and openings agree.

    Examples
    --------
    >>> derived_seed(0, "jeol", 3) == derived_seed(0, "jeol", 3) != derived_seed(0, "p45", 3)
    True
    """
    words = hashlib.sha256(environment.encode()).digest()[:16]
    return int(np.random.SeedSequence([root, *words, repetition]).generate_state(1, np.uint64)[0] >> 1)


def _with_controls(
    document: Document, label: str, task: BenchEnvironment, choice: Choice
) -> Iterator[tuple[str, str, Choice]]:
    yield label, "", choice
    for control in task.controls:
        yield CONTROL.format(name=label, control=control), control, _controlled(document, label, choice, control)


def _controlled(document: Document, label: str, choice: Choice, control: Control) -> Choice:
    as_control = getattr(choice.options, "as_control", None)
    if as_control is None:
        raise ConfigError(
            "this environment has no negative controls",
            where=document.where(("environments", label, "controls")),
            value=choice.name,
            remedy="Take 'controls' out, or use an environment with 'as_control', such as replay",
        )
    options: ConfigModel = as_control(control)
    return Choice(choice.name, choice.plugin, options)


def implied_options(config: type[BaseModel], task: BenchEnvironment, measurements: int | None) -> dict[str, Any]:
    """Return what the task says and a policy's ``Config`` has an option for, as it is written in a file."""
    known = {field.alias or name for name, field in config.model_fields.items()}
    implied = {
        "target": task.wanted,
        "dwell": task.plain()["dwell"],
        "signals": list(task.signals),
        "stride_px": task.pool.stride_px,
        "overview": task.pool.overview(),
        "points": measurements,
    }
    return {name: value for name, value in implied.items() if name in known and value is not None}


def _policy(document: Document, label: str, part: PluginConfig, task: BenchEnvironment, budget: BenchBudget) -> Choice:
    """Return a policy with the options that the environment and the budget imply, where it has them."""
    implied = implied_options(_config_of(document, part, ("policies", label)), task, budget.measurements)
    filled = copy.copy(document)
    filled.data = copy.deepcopy(document.data)
    given = filled.data["policies"][label].get("options") or {}
    filled.data["policies"][label]["options"] = implied | given
    return choose(filled, "policies", part, ("policies", label))


def _config_of(document: Document, part: PluginConfig, at: tuple[str, ...]) -> type[BaseModel]:
    try:
        config: type[BaseModel] = load("policies", part.name).Config
    except PluginError as error:
        raise ConfigError(str(error), where=document.where((*at, "name"))) from error
    return config


def _run(task: BenchEnvironment, policy: PluginConfig, budget: BenchBudget, decision_time_s: float) -> RunConfig:
    steps = None if budget.measurements is None else budget.measurements + SPARE_ACTS
    return RunConfig(
        name="arena",
        environment=task.environment,
        policy=policy,
        scalarizers=task.scalarizers,
        budget=BudgetConfig(time_s=budget.time_s, dose_e=budget.dose_e, steps=steps),
        engine=EngineConfig(decision_time_s=decision_time_s, checkpoint_every=0),
    )


def made_by(resolved: Resolved) -> dict[str, Any]:
    """Return what made a result besides its configuration: versions of code and libraries, digests of data files."""
    nested = getattr(resolved.environment.options, "instrument", None)
    plugins: list[Any] = [resolved.environment.plugin, resolved.policy.plugin]
    plugins += [choice.plugin for choice in resolved.scalarizers.values()]
    if isinstance(nested, PluginConfig):
        plugins.append(load("instruments", nested.name))
    advisor = getattr(resolved.policy.options, "advisor", None)
    if isinstance(advisor, PluginConfig):
        plugins.append(load("policies", advisor.name))
    told = provenance(())
    return {
        "code_sha256": code_version(plugins, ("autoscope.benchmark.campaign",)),
        "python": told["python"],
        "libraries": told["libraries"],
        "data_sha256": {str(path): _file_sha256(path, path.stat().st_mtime_ns) for path in files_of(resolved)},
    }


def files_of(resolved: Resolved) -> list[Path]:
    """Return the files that the options of the environment name and that are here."""
    found = dict.fromkeys(_paths(resolved.environment.options))
    return [path for path in found if path.is_file()]


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for _, part in value:
            yield from _paths(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _paths(part)


@functools.lru_cache(maxsize=256)
def _file_sha256(path: Path, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
