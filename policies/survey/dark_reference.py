"""Dark references of a survey: of which detectors, and of which dwells."""

from __future__ import annotations

from collections.abc import Iterator

from autoscope.config import ConfigModel
from autoscope.errors import ConfigError, Unsupported
from autoscope.perception.dark import same_dwell
from autoscope.records import Action, Capabilities, Measure, Result, Scan
from policies.survey.config import DarkReferenceConfig, SurveyConfig
from policies.survey.in_depth import campaign_of

SMALL_FOV_M = 1e-6
"""Of images without beam, where it means nothing."""


def dark_acts(task: DarkReferenceConfig, config: SurveyConfig) -> tuple[Scan | Measure, ...]:
    """Return the acts of a task: one for each dwell of spectra, then one for each dwell of images.

    Where the task does not say otherwise these are the shortest and the longest dwell that the survey may use, the
    campaigns inside its finds included; what lies between follows from both. Acts that would record nothing are left
    out.

    Raises
    ------
    ConfigError
        The dwells that the task names leave one out that the survey uses: its frames would all be refused.
    """
    signals = config.signals if task.signals is None else task.signals
    detectors = config.tile.detectors if task.detectors is None else task.detectors
    inside = campaign_of(config.in_depth, config.target)[1] if config.in_depth else None
    acts: list[Scan | Measure] = []
    if signals:
        used = _spectra_s(signals, config)
        if inside is not None and _records(signals, getattr(inside, "signals", ())):
            used += _dwells(inside, images=False)
        acts += [
            Measure(x_m=0.0, y_m=0.0, dwell_s=dwell_s, signals=signals, dark_frames=task.frames)
            for dwell_s in _chosen(task.dwells_s, used, "dwells")
        ]
    if detectors:
        used = [*_images_s(config), *(_dwells(inside, images=True) if inside else ())]
        side = task.size_px
        one = Scan(fov_m=SMALL_FOV_M, width_px=side, height_px=side, dwell_s=1e-6, detectors=detectors)
        acts += [
            one.replace(dwell_s=dwell_s, dark_frames=task.frames)
            for dwell_s in _chosen(task.image_dwells_s, used, "image_dwells")
        ]
    return tuple(acts)


def _spectra_s(signals: tuple[str, ...], config: SurveyConfig) -> list[float]:
    dwells = [config.dwell_s, *([config.screen.from_s] if config.screen else [])]
    dwells = dwells if _records(signals, config.signals) else []
    return dwells + [t.dwell_s for t in config.upkeep if t.kind == "zero_loss" and t.signal in signals]


def _records(signals: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Return whether acts that want these signals (none: all there are) record one of the task's."""
    return not wanted or not set(signals).isdisjoint(wanted)


def _images_s(config: SurveyConfig) -> list[float]:
    return [config.tile.dwell_s, config.align.dwell_s, config.focus.dwell_s]


def _dwells(options: ConfigModel, *, images: bool) -> Iterator[float]:
    """Yield the dwells that the options of a policy for one field name: of its overview, or of all else."""
    summed_px = max(getattr(options, "binnings", (1,))) ** 2  # which share the dwell of their square
    for name, value in options:
        if isinstance(value, ConfigModel) and images == (name == "overview"):
            yield from _dwells(value, images=False)
        elif not images and name == "dwell_s":
            yield float(value)
        elif not images and name == "dwells_s":
            yield from (min(value) / summed_px, *value)


def _chosen(named_s: tuple[float, ...], used_s: list[float], field: str) -> tuple[float, ...]:
    """Return the dwells to take references of: those named, if they do for all in use, else the ends of these."""
    if not used_s:
        return named_s
    if not named_s:
        return tuple(sorted({min(used_s), max(used_s)}))
    for dwell_s in used_s:
        between = min(named_s) < dwell_s < max(named_s)
        if not between and not any(same_dwell(dwell_s, one) for one in named_s):
            raise ConfigError(
                "leaves out a dwell that the survey uses: all frames of it would be refused",
                where=f"upkeep: dark_reference: {field}",
                value=f"{dwell_s:g} s",
                limit=" and ".join(f"{one:g} s" for one in sorted(named_s)),
                remedy=f"Add {dwell_s:g} s, or a shorter and a longer one; or leave {field} out",
            )
    return named_s


def require_dark(task: DarkReferenceConfig, acts: tuple[Scan | Measure, ...], can: Capabilities) -> None:
    """Return if an instrument can take these references.

    Raises
    ------
    Unsupported
        It cannot keep the beam away while it records, or has no such signal or detector.
    """
    where, remedy = f"upkeep: {task.kind}", "Leave the task out, or name other signals and detectors"
    if not can.dark:
        what = "the instrument cannot keep the beam away while it records"
        raise Unsupported(what, where=where, value=can.instrument, remedy="Leave the task out")
    known = {*can.detectors, *(s.name for s in can.signals)}
    for name in (name for act in acts for name in _names(act)):
        if name not in known:
            what = "the instrument has no such signal or detector"
            raise Unsupported(what, where=where, value=name, limit=", ".join(sorted(known)), remedy=remedy)


def asks(act: Action) -> str:
    """Return what an act of a task wants to know, as a question for people."""
    if not isinstance(act, (Scan, Measure)):
        return ""
    return f"what do {', '.join(_names(act))} read without beam? {act.dark_frames} frames of {act.dwell_s:g} s"


def found(result: Result) -> str:
    """Return what was read without beam, for people."""
    quality = sorted(result.outcome.quality.items())  # in whatever order they were written down
    means = [(name.removesuffix(".mean"), value) for name, value in quality if name.endswith(".mean")]
    return ", ".join(f"{name} {value:.4g}" for name, value in means)


def _names(act: Scan | Measure) -> tuple[str, ...]:
    return act.signals if isinstance(act, Measure) else act.detectors
