"""The command that examines an instrument: ``autoscope doctor``."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoscope.errors import ConfigError

if TYPE_CHECKING:
    from autoscope.testing.conformance.bench import Steps


class Time(enum.StrEnum):
    """Which clock the instrument is given."""

    system = "system"
    simulated = "simulated"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(doctor)


def doctor(
    instrument: Annotated[str, typer.Option("--instrument", "-i", help="Name of the instrument plug-in.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="YAML file with its options, or a run configuration that uses it."),
    ] = None,
    gentle: Annotated[
        bool, typer.Option("--gentle", help="For a real instrument: small steps, little dose, nothing out of range.")
    ] = False,
    stage_step: Annotated[str, typer.Option(help="Step of the stage, e.g. '200 nm'. Asked for with --gentle.")] = "",
    defocus_step: Annotated[str, typer.Option(help="Step of defocus, e.g. '1 um'.")] = "",
    fov: Annotated[str, typer.Option(help="Width of the images; absent: looked for.")] = "",
    max_dose: Annotated[
        str, typer.Option(help="Electrons all checks may spend, e.g. '1e9 e'. Asked for with --gentle.")
    ] = "",
    clock: Annotated[
        Time, typer.Option(help="'simulated' only for instruments without time of their own.")
    ] = Time.system,
) -> None:
    """Examine an instrument for every promise that a night relies on.

    Stage and lenses are moved a little and brought back, a few images and spectra are taken, out-of-range values are
    asked for (not with --gentle), and the way the image goes tells whether an axis is swapped or mirrored. The beam is
    blanked at the end.

    Exit status: 0 all promises kept, 1 some were not, 2 wrong configuration.
    """
    from autoscope.clock import SimClock, SystemClock
    from autoscope.testing import check_instrument

    steps = _steps(gentle, stage_step=stage_step, defocus_step=defocus_step, fov=fov, max_dose=max_dose)
    made = _made(instrument, config, SystemClock() if clock is Time.system else SimClock())
    group = ""

    def tell(check: Any) -> None:
        nonlocal group
        if check.group != group:
            group = check.group
            typer.secho(group, bold=True)
        colour = {"passed": typer.colors.GREEN, "failed": typer.colors.RED}.get(check.status)
        typer.secho("\n".join(f"  {text}" for text in str(check).splitlines()), fg=colour)

    report = check_instrument(made, steps=steps, gentle=gentle, on_check=tell)
    typer.secho(report.summary, bold=True)
    raise typer.Exit(0 if report.ok else 1)


def _steps(gentle: bool, **given: str) -> Steps:
    """Return how far the checks may go, asking for what a real instrument should not be moved without."""
    from autoscope.quantities import parse
    from autoscope.testing.conformance.bench import GENTLE, Steps

    default = GENTLE if gentle else Steps()
    if gentle and sys.stdin.isatty():
        given["stage_step"] = given["stage_step"] or typer.prompt("Step of the stage", "200 nm")
        given["max_dose"] = given["max_dose"] or typer.prompt("Electrons to spend", "1e10 e")
    changes = {}
    for option, field, unit in (
        ("stage_step", "stage_m", "m"),
        ("defocus_step", "defocus_m", "m"),
        ("fov", "fov_m", "m"),
        ("max_dose", "dose_e", "e"),
    ):
        if given[option]:
            try:
                changes[field] = parse(given[option], unit)
            except ValueError as error:
                raise ConfigError(str(error), where=f"--{option.replace('_', '-')}") from error
    return default.replace(**changes)


def _made(name: str, config: Path | None, clock: Any) -> Any:
    """Return the instrument of that name, made with the options of the file."""
    import numpy as np

    from autoscope.registry import load

    plugin = load("instruments", name)
    return plugin(_options(plugin.Config, name, config), clock=clock, rng=np.random.default_rng(0))


def _options(model: Any, name: str, config: Path | None) -> Any:
    """Return the options of an instrument from a file: its own, or those in a run configuration that names it."""
    from autoscope.config import Document

    document = Document.read(config) if config else Document("{}", "no file")
    return document.validate(model, _place(document.data, name))


def _place(data: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return where in a document the options of an instrument stand.

    Examples
    --------
    >>> _place({"instrument": {"name": "nion", "options": {}}}, "nion")
    ('instrument', 'options')
    >>> _place({"environment": {"name": "simulated", "options": {"microscope": {}}}}, "simulated")
    ('environment', 'options', 'microscope')
    >>> _place({"scan": {"source": "superscan"}}, "nion")
    ()
    """
    given = data.get("environment")
    environment = given if isinstance(given, dict) else {}
    options = environment.get("options") or {}
    if environment.get("name") == name:
        return "environment", "options", next((key for key in ("microscope", "data") if key in options), "microscope")
    for part, place in ((data.get("instrument"), ()), (options.get("instrument"), ("environment", "options"))):
        if isinstance(part, dict) and part.get("name") == name:
            return (*place, "instrument", "options")
        if isinstance(part, dict) and "name" in part:
            raise ConfigError(
                "the file configures another instrument",
                where=".".join((*place, "instrument")),
                value=part["name"],
                limit=name,
                remedy="Give --instrument that name, or another file",
            )
    return ()
