"""The conformance kit for policies: whether one keeps the promises that resume, replay and the arena rest on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from autoscope.config import BudgetConfig
from autoscope.engine.desk import REFUSALS_THAT_END
from autoscope.engine.events import RunStatus
from autoscope.exposure import predict
from autoscope.protocols import Policy
from autoscope.records import Budget, Decision, Fault, Finish, Measure, Outcome, Result, View
from autoscope.registry import load
from autoscope.testing.conformance.rehearsal import WORLD, Answer, Rehearsal, Tape, other_global_chance
from autoscope.testing.conformance.report import Check, PolicyReport

Checking = Callable[[Rehearsal, Tape], Iterator[Check]]


def check_policy(
    policy: Any,
    options: Mapping[str, Any] | None = None,
    *,
    world: Mapping[str, Any] | None = None,
    steps: int = 24,
    seed: int = 1,
    repeats: bool = False,
) -> PolicyReport:
    """Return which promises of the policy protocol a plug-in keeps; never raises for a broken one.

    Parameters
    ----------
    policy : type or str
        The class, or the name it is registered under.
    options : mapping, optional
        As they are written in a file. Target, dwell, signals and overview are filled in where ``Config`` has them.
    world : mapping, optional
        What it is to work in, as a task of a benchmark (`autoscope.benchmark.config.BenchEnvironment`); a small field
        of simulated particles by default.
    steps : int
        Acts of a campaign.
    seed : int
    repeats : bool
        The policy may measure a place twice.

    Examples
    --------
    >>> report = check_policy("random")
    >>> assert report.ok, str(report)
    """
    try:
        plugin = load("policies", policy) if isinstance(policy, str) else policy
        rehearsal = Rehearsal(plugin, options or {}, world or WORLD, steps, seed)
        rehearsal.fresh()
        tape, end = rehearsal.run()
    except Exception as error:  # whatever a plug-in raises is a finding
        name = policy if isinstance(policy, str) else getattr(policy, "__name__", repr(policy))
        made = _line("making", "is made from its Config and a generator, and can be run", False, _told(error))
        return PolicyReport(policy=name, checks=(made,))
    found = [
        _line("making", "is made from its Config and a generator, and can be run", True, f"{len(tape.told)} acts"),
        _line(
            "making",
            "runs until its budget is spent or it has finished",
            end.status is not RunStatus.FAILED,
            end.reason,
            "Raise nothing from ask and tell; answer Decision or Finish",
        ),
    ]
    checks: list[tuple[str, Checking]] = [*CHECKS] if repeats else [*CHECKS, ("places", _never_twice)]
    for group, check in checks:
        try:
            found += check(rehearsal, tape)
        except Exception as error:
            found.append(_line(group, f"{group} can be checked", False, f"raised {_told(error)}"))
    return PolicyReport(policy=plugin.__name__, checks=tuple(found))


# --- what is promised ---------------------------------------------------------------------------------


def _decisions(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    refused = [r.outcome.fault for _, r in tape.told if r.outcome.status in ("refused", "failed")]
    first = refused[0].message if refused and refused[0] else ""
    yield _line(
        "decisions",
        "asks for nothing the instrument cannot do",
        not refused,
        f"{len(refused)} of {len(tape.told)} acts; the first: {first}" if refused else "",
        "Look at view.capabilities: actions, ranges, detectors, signals, native_scan",
    )
    decided = [answer for _, answer in tape.questions if isinstance(answer, Decision)]
    yield _line("decisions", "says why, in a sentence", all(d.reason for d in decided), remedy="Fill in 'reason'")
    stds = [d.predicted_std for d in decided if d.predicted_std is not None]
    means = [d.predicted_mean for d in decided if d.predicted_mean is not None]
    if not means:
        yield _line("decisions", "predicts finite values", None, "it predicts nothing")
        return
    honest = all(map(math.isfinite, means)) and all(math.isfinite(s) and s >= 0 for s in stds)
    yield _line("decisions", "predicts finite values with standard deviations that are not negative", honest)


def _repeatable(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    with other_global_chance():
        other, _ = rehearsal.run()
    yield _line(
        "chance",
        "decides the same again with the same seed, whatever the global generators",
        _same([a for _, a in tape.questions], [a for _, a in other.questions]),
        _first_difference([a for _, a in tape.questions], [a for _, a in other.questions]),
        "Take all chance from the generator given; no clock, no files, no global state, no order of sets",
    )


def _fold(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    _, answers = rehearsal.again(tape)
    before = [a for _, a in tape.questions]
    yield _line(
        "fold",
        "decides the same when it is asked and told the record again, without the instrument",
        _same(before, answers),
        _first_difference(before, answers),
        "Everything a later decision depends on must come through tell; a policy sees nothing else",
    )


def _state(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    half = len(tape.told) // 2
    policy, answers = rehearsal.again(tape, until=half)
    plain = policy.state()
    try:
        text = json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        remedy = "Use lists, numbers and text; no NaN, no arrays"
        yield _line("state", "is plain data (JSON)", False, str(error), remedy)
        return
    yield _line("state", "is plain data (JSON)", True, f"{len(text)} bytes")
    restored = rehearsal.fresh(rehearsal.seed + 1)
    restored.restore(json.loads(text))
    yield _line("state", "comes out as it was taken up", json.dumps(restored.state()) == text)
    left = _rest(restored, tape, half, len(answers))
    rest = _rest(policy, tape, half, len(answers))
    yield _line(
        "state",
        "makes another policy decide as the one it came from",
        _same(rest, left),
        remedy="Keep all later decisions depend on, chance too: draw one number when made, keep it, and use "
        "autoscope.chance.stream(number, 'decision 7')",
    )
    policy.restore(json.loads(text))
    policy.restore(policy.state())
    yield _line(
        "state",
        "sets a policy back that has learnt more since, however often it is taken up",
        json.dumps(policy.state()) == text and _same(rest, _rest(policy, tape, half, len(answers))),
        remedy="In restore, replace all that was learnt; add nothing to what is there",
    )


def _pending(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    promise = "does not ask again for what is under way"
    if not getattr(rehearsal.plugin, "lookahead", False):
        yield _line("pending", promise, None, "the class does not say 'lookahead = True'")
        return
    half = next((k for k, (d, _) in enumerate(tape.told) if isinstance(d.action, Measure)), 0)
    policy, asked = rehearsal.again(tape, until=half)
    view, answer = tape.questions[len(asked)]
    if isinstance(answer, Finish):
        yield _line("pending", promise, None, "it had finished by then")
        return
    ahead = policy.ask(_view(view, step=view.step + 1, pending=(answer.action,)))
    fine = isinstance(ahead, Finish) or ahead.action != answer.action
    yield _line("pending", promise, fine, remedy="Leave out the actions in view.pending")


def _faults(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    half = len(tape.told) // 2
    policy, asked = rehearsal.again(tape, until=half)
    decision, result = tape.told[half]
    answers = [policy.ask(view) for view, _ in tape.questions[len(asked) : tape.asked_before[half]]]
    fault = Fault(error="InstrumentError", message="rehearsed")
    failed = {"status": "failed", "frames": (), "values": (), "fault": fault}
    policy.tell(decision, Result(Outcome.model_validate(result.outcome.model_dump() | failed)))
    view = _view(tape.questions[len(asked) + len(answers) - 1][0], step=half + 1)
    answer = policy.ask(view)
    yield _line(
        "faults", "goes on after a measurement that failed", isinstance(answer, (Decision, Finish)), remedy="See tell"
    )


def _budget(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    costs = [predict(d.action, r.outcome.state_before, tape.questions[0][0].capabilities).time_s for d, r in tape.told]
    time_s = sum(costs[: len(costs) // 2]) or 1.0
    short, end = rehearsal.run(BudgetConfig(time_s=time_s, steps=rehearsal.steps))
    refused = sum(r.outcome.status == "refused" for _, r in short.told)
    yield _line(
        "budget",
        "ends well when time runs out",
        end.status is RunStatus.COMPLETED and refused <= REFUSALS_THAT_END,
        f"{end.status.value}: {end.reason}",
        "Ask for less than view.budget has left (autoscope.exposure.predict), or answer Finish",
    )
    nothing = rehearsal.fresh().ask(_view(tape.questions[0][0], budget=Budget(steps=0, time_s=0.0, dose_e=0.0)))
    yield _line("budget", "answers when nothing is left", isinstance(nothing, (Decision, Finish)))


def _never_twice(rehearsal: Rehearsal, tape: Tape) -> Iterator[Check]:
    places = [(a.x_m, a.y_m, a.signals) for a in tape.measured()]
    twice = len(places) - len(set(places))
    yield _line(
        "places",
        "measures no place twice",
        not twice,
        f"{twice} of {len(places)}" if twice else "",
        "Keep what was measured, or pass repeats=True where it is meant",
    )


CHECKS: tuple[tuple[str, Checking], ...] = (
    ("decisions", _decisions),
    ("chance", _repeatable),
    ("fold", _fold),
    ("state", _state),
    ("pending", _pending),
    ("faults", _faults),
    ("budget", _budget),
)


# --- how it is seen -----------------------------------------------------------------------------------


def _rest(policy: Policy, tape: Tape, told: int, asked: int) -> list[Answer]:
    """Return what a policy answers to the rest of a tape."""
    answers: list[Answer] = []
    for (decision, result), until in zip(tape.told[told:], tape.asked_before[told:]):
        answers += [policy.ask(view) for view, _ in tape.questions[asked + len(answers) : until]]
        policy.tell(decision, result)
    return answers


def _view(view: View, **changed: Any) -> View:
    return View.model_validate({name: getattr(view, name) for name in type(view).model_fields} | changed)


def _same(before: list[Answer], now: list[Answer]) -> bool:
    return len(before) == len(now) and all(_essence(a) == _essence(b) for a, b in zip(before, now))


def _first_difference(before: list[Answer], now: list[Answer]) -> str:
    for nth, (one, other) in enumerate(zip(before, now)):
        if _essence(one) != _essence(other):
            return f"answer {nth + 1}: {_essence(one)} then, {_essence(other)} now"
    return "" if len(before) == len(now) else f"{len(before)} answers then, {len(now)} now"


def _essence(answer: Answer) -> str:
    return "finish" if isinstance(answer, Finish) else str(answer.action)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _line(group: str, promise: str, kept: bool | None, detail: str = "", remedy: str = "") -> Check:
    """Return a check; None where it does not apply."""
    status = "not applicable" if kept is None else "passed" if kept else "failed"
    return Check.model_validate(
        {"group": group, "promise": promise, "status": status, "detail": detail, "remedy": remedy}
    )
