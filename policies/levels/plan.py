"""What a survey of several magnifications will do and cost, predicted before any beam."""

from __future__ import annotations

from autoscope.exposure import predict
from autoscope.records import Action, MoveStage, SetOptics, Stage, View
from policies.levels.config import LevelConfig, LevelsConfig
from policies.stages import stage
from policies.survey.in_depth import planned_in_depth
from policies.survey.plan import images_a_series


def acts_of(config: LevelsConfig, level: LevelConfig, view: View) -> list[Action]:
    """Return the acts of one place of a level, travel and focus included."""
    step = level.look.fov_m if level.look else 0.0
    acts: list[Action] = [] if level.by == "beam" else [MoveStage(x_m=view.state.x_m + step)]
    if level.focus:
        acts += [SetOptics(defocus_m=0.0), config.focus.scan()] * images_a_series(config.focus)
    acts.append(level.act(0.0, 0.0))
    if level.look is not None and level.measure is not None:
        acts.append(level.probe(0.0, 0.0))
    return acts


def seconds_of(config: LevelsConfig, view: View) -> list[float]:
    """Return, for each level, what one of its places costs with all that is kept below it."""
    each = [
        sum(predict(act, view.state, view.capabilities).time_s for act in acts_of(config, level, view))
        for level in config.levels
    ]
    for k in range(len(each) - 2, -1, -1):
        each[k] += config.levels[k + 1].keep * each[k + 1]
    return each


def leaves_of(config: LevelsConfig) -> list[int]:
    """Return, for each level, how many places of the last level are kept below one of its places."""
    leaves = [1] * len(config.levels)
    for k in range(len(leaves) - 2, -1, -1):
        leaves[k] = leaves[k + 1] * config.levels[k + 1].keep
    return leaves


def planned_stages(config: LevelsConfig, tiles: int, view: View) -> tuple[Stage, ...]:
    """Return one stage for each level: all of the first, and of the others as many as are kept and have time."""
    first, *others = config.levels
    stages = [stage(first.name, acts_of(config, first, view), tiles, view, f"{tiles} images cover the area")]
    if not others:
        return tuple(stages)
    wanted = tiles * others[0].keep
    fits, left_s = wanted, view.budget.time_s
    if left_s is not None:
        fits = int(max(left_s - stages[0].time_s, 0.0) / seconds_of(config, view)[1])
    count = planned = max(1, min(wanted, fits))
    for level in others:
        count = count if level is others[0] else count * level.keep
        note = f"{count} places" if level is not others[0] else f"{planned} of at most {wanted} places"
        one = stage(level.name, acts_of(config, level, view), count, view, note)
        stages.append(one.replace(whole=wanted / planned if level is others[0] else 1.0))
    stages += planned_in_depth(config.in_depth, config.target or "", view)
    if any(level.focus for level in config.levels):
        series: list[Action] = [SetOptics(defocus_m=0.0), config.focus.scan()]
        longer = 2 * config.focus.images - 1 - images_a_series(config.focus)
        stages.append(stage("first focus", series, max(longer, 0), view, "the very first series is longer"))
    return tuple(stages)
