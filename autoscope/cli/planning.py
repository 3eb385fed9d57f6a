"""The commands that touch no instrument: check, list, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from autoscope.cli.running import read_config
from autoscope.config import RunConfig
from autoscope.engine.assemble import Job, assemble
from autoscope.engine.loop import describe_action
from autoscope.errors import AutoscopeError
from autoscope.exposure import predict
from autoscope.guard import Guard
from autoscope.protocols import Planner
from autoscope.records import Budget, Decision, Stage, View
from autoscope.registry import KINDS, available, load


def check_config(path: Path, overrides: list[str]) -> None:
    """Print the plan of a configuration; raise its first error."""
    console = Console()
    resolved = read_config(path, overrides)
    job = assemble(resolved)
    config = resolved.config
    job.environment.reset(seed=config.seed, options={"bare": True})
    try:
        console.print(f"[bold]{config.name}[/]: {path} is valid", highlight=False)
        view = _first_view(job)
        _print_parts(console, job, view)
        stages = job.policy.plan(view) if isinstance(job.policy, Planner) else ()
        _print_plan(console, stages, view)
        _print_first_act(console, job, view, stages)
    finally:
        job.environment.close()


def _first_view(job: Job) -> View:
    budget = job.config.budget
    return View(
        step=0,
        time_s=0.0,
        budget=Budget(time_s=budget.time_s, dose_e=budget.dose_e, steps=budget.steps),
        state=job.environment.read_state(),
        capabilities=job.environment.describe(),
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
        parts.append(f"{budget.time_s / 3600:g} h")
    if budget.dose_e is not None:
        parts.append(f"{budget.dose_e:.3g} electrons")
    if budget.steps is not None:
        parts.append(f"{budget.steps} acts")
    return ", ".join(parts) or "unlimited: the run ends when the policy finishes"


def _print_plan(console: Console, stages: tuple[Stage, ...], view: View) -> None:
    if not stages:
        return
    table = Table("stage", "acts", "time", "electrons", "data", "", box=None)
    for stage in stages:
        table.add_row(stage.name, f"{stage.acts}", *_amounts(stage), stage.note)
    total = Stage(
        name="together",
        acts=sum(s.acts for s in stages),
        time_s=sum(s.time_s for s in stages),
        dose_e=sum(s.dose_e for s in stages),
        bytes=sum(s.bytes for s in stages),
    )
    table.add_row("[bold]together[/]", f"{total.acts}", *_amounts(total), "")
    console.print(table, highlight=False)
    _warn(console, total, view.budget)


def _amounts(stage: Stage) -> tuple[str, str, str]:
    return f"{stage.time_s / 3600:.2f} h", f"{stage.dose_e:.3g}", f"{stage.bytes / 1e6:.0f} MB"


def _warn(console: Console, total: Stage, budget: Budget) -> None:
    pairs = (("time", total.time_s, budget.time_s), ("dose", total.dose_e, budget.dose_e))
    for name, needed, given in (*pairs, ("acts", total.acts, budget.steps)):
        if given is not None and needed > given * 1.0001:
            console.print(
                f"[yellow]the {name} budget covers {given / needed:.0%} of the whole plan; "
                "the most valuable part is done first[/]",
                highlight=False,
            )


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
