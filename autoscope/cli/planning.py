"""The commands that touch no instrument: check, list, schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from autoscope.cli.running import read_config
from autoscope.clock import SimClock
from autoscope.config import Document, RunConfig
from autoscope.deadline import instant_of, seconds_until
from autoscope.engine.assemble import Job, assemble
from autoscope.engine.loop import describe_action
from autoscope.errors import AutoscopeError
from autoscope.exposure import predict
from autoscope.guard import Guard, Spending
from autoscope.guard.ranges import permitted
from autoscope.protocols import Planner
from autoscope.queue.listing import is_listing, wanted
from autoscope.records import Budget, Decision, Stage, View
from autoscope.registry import KINDS, available, load


def check(path: Path, overrides: list[str], *, strict: bool) -> int:
    """Print the plan of a configuration, or of every experiment of a queue's file; return the exit status.

    Raises
    ------
    AutoscopeError
        The first error of one of them.
    """
    console, document = Console(), Document.read(path)
    if not is_listing(document):
        return _status(check_config(path, overrides).covered, strict)
    plans = []
    for one in wanted(document, path):
        plans.append(check_config(one.path, [*one.overrides, *overrides]))
        console.print()
    _print_night(console, plans)
    return _status(all(plan.covered for plan in plans), strict)


def _status(covered: bool, strict: bool) -> int:
    return 3 if strict and not covered else 0


def _print_night(console: Console, plans: list[Plan]) -> None:
    table = Table("experiment", "acts", "time", "electrons", "data", "", box=None)
    for plan in plans:
        note = "" if plan.covered else "[yellow]does not cover all[/]"
        table.add_row(plan.name, f"{plan.total.acts}", *_amounts(plan.total), note if plan.stages else "no plan")
    total = summed("the night", [plan.total for plan in plans])
    table.add_row("[bold]the night[/]", f"{total.acts}", *_amounts(total), "")
    console.print(table, highlight=False)


@dataclass(frozen=True)
class Plan:
    """What a configuration will do, as far as its policy can tell."""

    name: str
    stages: tuple[Stage, ...]
    total: Stage
    covered: bool
    """Whether the budget covers all of it."""


def check_config(path: Path, overrides: list[str]) -> Plan:
    """Print the plan of a configuration and return it; raise its first error."""
    console = Console()
    resolved = read_config(path, overrides)
    job = assemble(resolved)
    config = resolved.config
    job.environment.reset(seed=config.seed, options={"bare": True})
    try:
        console.print(f"[bold]{config.name}[/]: {path} is valid", highlight=False)
        view = first_view(job)
        _print_parts(console, job, view)
        stages = planned(job, view)
        total = summed("together", stages)
        covered = _print_plan(console, stages, total, view)
        _print_first_act(console, job, view, stages)
        return Plan(config.name, stages, total, covered)
    finally:
        job.environment.close()


def planned(job: Job, view: View) -> tuple[Stage, ...]:
    """Return the stages of a job, with the time that deciding is declared to cost."""
    if not isinstance(job.policy, Planner):
        return ()
    stages = job.policy.plan(view)
    alongside = job.config.engine.lookahead or not isinstance(job.clock, SimClock)
    each_s = 0.0 if alongside else job.config.engine.decision_time_s
    if each_s and view.budget.time_s is not None:  # a plan that fills the time has so much less to fill
        share = 1.0 + each_s * sum(s.acts for s in stages) / max(sum(s.time_s for s in stages), 1e-9)
        stages = job.policy.plan(view.replace(budget=view.budget.replace(time_s=view.budget.time_s / share)))
    return tuple(stage.replace(time_s=stage.time_s + stage.acts * each_s) for stage in stages)


def summed(name: str, stages: Sequence[Stage]) -> Stage:
    """Return several stages as one."""
    return Stage(
        name=name,
        acts=sum(s.acts for s in stages),
        time_s=sum(s.time_s for s in stages),
        dose_e=sum(s.dose_e for s in stages),
        bytes=sum(s.bytes for s in stages),
    )


def first_view(job: Job) -> View:
    """Return what a policy sees before its first act."""
    budget, clock, scope = job.config.budget, job.clock, job.environment.describe()
    deadline_s = math.inf
    if budget.finish_by is not None:
        wall = clock.wall()
        deadline_s = seconds_until(instant_of(budget.finish_by, wall, local=not isinstance(clock, SimClock)), wall)
    return View(
        step=0,
        time_s=0.0,
        budget=Spending(budget, deadline_s=deadline_s).left(0.0, 0.0, 0),
        state=job.environment.read_state(),
        capabilities=scope.replace(ranges=permitted(job.config.limits, scope)),
    )


def _print_parts(console: Console, job: Job, view: View) -> None:
    scope = view.capabilities
    table = Table.grid(padding=(0, 2))
    kind = "simulated" if scope.simulated else "stored data" if scope.native_scan else "[bold red]REAL BEAM[/]"
    table.add_row("instrument", f"{scope.instrument} ({scope.serial}), {kind}, {scope.voltage_v / 1e3:g} kV")
    table.add_row("signals", ", ".join([*scope.detectors, *(s.name for s in scope.signals)]))
    table.add_row("policy", job.config.policy.name)
    for name, scalarizer in job.scalarizers.items():
        table.add_row(f"target {name}", scalarizer.identity)
    table.add_row("budget", _budget(view.budget))
    console.print(table, highlight=False)


def _budget(budget: Budget) -> str:
    parts = []
    if budget.time_s is not None:
        parts.append(f"{budget.time_s / 3600:.4g} h")
    if budget.dose_e is not None:
        parts.append(f"{budget.dose_e:.3g} electrons")
    if budget.bytes is not None:
        parts.append(f"{budget.bytes / 1e9:.3g} GB")
    if budget.steps is not None:
        parts.append(f"{budget.steps} acts")
    return ", ".join(parts) or "unlimited: the run ends when the policy finishes"


def _print_plan(console: Console, stages: tuple[Stage, ...], total: Stage, view: View) -> bool:
    """Print the plan and what the budget does not cover; return whether it covers all."""
    if not stages:
        return True
    table = Table("stage", "acts", "time", "electrons", "data", "", box=None)
    for stage in stages:
        table.add_row(stage.name, f"{stage.acts}", *_amounts(stage), stage.note)
    table.add_row("[bold]together[/]", f"{total.acts}", *_amounts(total), "")
    console.print(table, highlight=False)
    warnings = [*_shortages(stages, total, view.budget)]
    for warning in warnings:
        console.print(f"[yellow]{warning}[/]", highlight=False)
    return not warnings


def _amounts(stage: Stage) -> tuple[str, str, str]:
    return f"{stage.time_s / 3600:.2f} h", f"{stage.dose_e:.3g}", f"{stage.bytes / 1e6:.0f} MB"


def _shortages(stages: tuple[Stage, ...], total: Stage, budget: Budget) -> Iterator[str]:
    """Yield what the budget cannot cover, and what would fit, as sentences."""
    given: tuple[tuple[str, str, float | None, Callable[[float], str]], ...] = (
        ("time", "time_s", budget.time_s, lambda v: f"{v / 3600:.3g} h"),
        ("dose", "dose_e", budget.dose_e, lambda v: f"{v:.3g} e"),
        ("data", "bytes", budget.bytes, lambda v: f"{v / 1e9:.3g} GB"),
        ("acts", "acts", budget.steps, lambda v: f"{v:.0f}"),
    )
    for name, field, limit, shown in given:
        needed = getattr(total, field)
        if limit is not None and needed > limit * 1.0001:
            yield (
                f"the {name} budget covers {limit / needed:.0%} of the whole plan ({shown(limit)} of {shown(needed)}); "
                f"what fits: {_what_fits(stages, field, limit)}; the most valuable part is done first"
            )
    for stage in stages:
        if stage.whole > 1.0001:
            yield (
                f"the budget covers {1 / stage.whole:.0%} of the area: {stage.name}, {stage.note}; "
                f"the same for all of it would take about {total.time_s * stage.whole / 3600:.3g} h"
            )


def _what_fits(stages: tuple[Stage, ...], field: str, limit: float) -> str:
    """Return how much of each stage fits where the stages are done one after the other."""
    parts = []
    for stage in stages:
        needed = getattr(stage, field)
        share = 1.0 if needed <= limit else limit / needed
        limit = max(limit - needed, 0.0)
        parts.append(f"{int(share * stage.acts)} of {stage.acts} acts of {stage.name}")
    return ", ".join(parts)


def _print_first_act(console: Console, job: Job, view: View, stages: tuple[Stage, ...]) -> None:
    first = job.policy.ask(view)
    if not isinstance(first, Decision):
        console.print(f"[yellow]the policy would finish at once: {first.reason}[/]", highlight=False)
        return
    cost = predict(first.action, view.state, view.capabilities)
    price = f"{cost.time_s:.3g} s, {cost.dose_e:.3g} electrons"
    console.print(f"first act: {first.purpose}, {describe_action(first.action)}: {price}", highlight=False)
    config = job.config
    guard = Guard(config.limits, view.capabilities, saturated_fraction=config.engine.saturated_fraction)
    for action in (first.action, *(example for stage in stages for example in stage.examples)):
        guard.permit(action, view.state, view.budget)


def list_plugins(kind: str) -> None:
    """Print the plug-ins of a kind with the first line of their documentation."""
    console = Console()
    plugins = available(kind)
    if not plugins:
        console.print(f"no {kind} are installed", highlight=False)
        return
    rows = [(plugin.name, *_described(kind, plugin.name), plugin.distribution) for plugin in plugins]
    with_status = any(status for _, _, status, _ in rows)
    table = Table("name", "what it is", *(["status"] if with_status else []), "from", box=None)
    for name, what, status, source in rows:
        table.add_row(name, what, *([status] if with_status else []), source)
    console.print(table, highlight=False)


def _described(kind: str, name: str) -> tuple[str, str]:
    """Return the first line of a plug-in's documentation, and what it says of how far it has been tried."""
    try:
        plugin = load(kind, name)
    except AutoscopeError as error:
        return f"[yellow]not usable: {error}[/]", ""
    return (plugin.__doc__ or "").strip().split("\n")[0], str(getattr(plugin, "status", ""))


def write_schema(output: Path | None) -> None:
    """Write the JSON schema of run configurations, options of every installed plug-in included."""
    text = json.dumps(run_schema(), indent=2, sort_keys=True)
    if output is None:
        Console().print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        output.write_text(text + "\n", encoding="utf-8")


def run_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a run configuration."""
    schema = RunConfig.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    for kind in KINDS:
        for plugin in available(kind):
            definitions[f"{kind}.{plugin.name}"] = _plugin_schema(kind, plugin.name, definitions)
    schema["properties"]["environment"] = _one_of("environments")
    schema["properties"]["policy"] = _one_of("policies")
    schema["properties"]["scalarizers"] = {"type": "object", "additionalProperties": _one_of("scalarizers")}
    return schema


def _plugin_schema(kind: str, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    prefix = f"{kind}.{name}."
    template = f"#/$defs/{prefix}{{model}}"
    options = load(kind, name).Config.model_json_schema(by_alias=True, ref_template=template)
    for inner, value in options.pop("$defs", {}).items():
        definitions[prefix + inner] = value
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "options": options},
        "required": ["name"],
        "additionalProperties": False,
    }


def _one_of(kind: str) -> dict[str, Any]:
    return {"oneOf": [{"$ref": f"#/$defs/{kind}.{p.name}"} for p in available(kind)]}
