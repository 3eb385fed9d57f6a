"""What must hold after anything: invariants I1 to I12, where a run folder and the instrument's own log decide them.

| | holds |
|---|---|
| I1 | each act was done at most once |
| I2 | nothing was done without an intent that was durable before it |
| I3 | no state left the limits of the run |
| I4 | the dose is within budget and one exposure, and the journal's count agrees with the instrument's |
| I6 | after the end the beam is blanked |
| I7 | every frame a record refers to exists with its hash |
| I8 | the chain of the journal verifies to its last record |
| I10 | every step was intended once, and none was done again under another name |
| I11 | the run is in exactly one terminal state, with a reason |

I5 (beam-on time without a lease), I9 (replay) and I12 (unknown keys) need the wire or the policy: tested there.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from autoscope.config import BudgetConfig, LimitsConfig
from autoscope.journal import JournalReader, verify
from autoscope.records import MicroscopeState

SLACK = 1e-9
"""Relative rounding that is no breach."""


@dataclass(frozen=True)
class Breach:
    """An invariant that does not hold, and how."""

    invariant: str
    what: str

    def __str__(self):
        return f"{self.invariant}: {self.what}"


def check(folder, log=(), *, final=None, ended=True):
    """Return every breach of the invariants.

    Parameters
    ----------
    folder : Path
        Of the run.
    log : sequence
        What the instrument physically did, by its own account, oldest first: anything with ``act_id`` and, if it is
        known, ``start_s`` on the clock of the run. Entries without an ``act_id`` (``make_safe``) are no acts.
    final : MicroscopeState, optional
        The instrument read back after the run.
    ended : bool
        Whether the run is over; False for one that was killed or still goes on.
    """
    return [*_of_the_record(Path(folder), ended), *_of_the_acts(Path(folder), log), *_of_the_end(final, ended)]


def assert_hold(folder, log=(), *, final=None, ended=True):
    """Fail with every breach named."""
    breaches = check(folder, log, final=final, ended=ended)
    assert not breaches, "\n".join(str(breach) for breach in breaches)


def _of_the_record(folder, ended):
    verdict = verify(folder)
    for problem in verdict.problems:
        yield Breach("I8", str(problem))
    reader = JournalReader.open(folder)
    if verdict.frames_checked != verdict.frames:
        yield Breach("I7", f"{verdict.frames - verdict.frames_checked} of {verdict.frames} frames are gone or altered")
    steps = Counter(record.step for record in reader.records("intent"))
    for step, count in steps.items():
        if count > 1:
            yield Breach("I10", f"step {step} was intended {count} times")
    yield from _terminal(reader, ended)
    yield from _spending(reader)


def _terminal(reader, ended):
    kinds = [(record.kind, record.body) for record in reader.records() if record.kind != "annotation"]
    if not ended:
        return
    if not kinds or kinds[-1][0] != "run_ended":
        yield Breach("I11", f"the record does not end with a terminal state but with {kinds[-1][0] if kinds else None}")
    elif not kinds[-1][1].get("reason"):
        yield Breach("I11", "the terminal state gives no reason")
    if any(pair[0] == "run_ended" for pair in kinds[:-1]) and not _resumed(kinds):
        yield Breach("I11", "there are two terminal states without a resumption between them")


def _resumed(kinds):
    ends = [place for place, (kind, _) in enumerate(kinds) if kind == "run_ended"]
    return all(later - earlier > 1 for earlier, later in pairwise(ends))


def _spending(reader):
    header = next(reader.records("run_started"), None)
    config = header.body.get("config", {}) if header else {}
    limits = LimitsConfig.model_validate(config.get("limits") or {})
    outcomes = [step.outcome for step in reader.steps() if step.outcome]
    for outcome in outcomes:
        for name in ("x_m", "y_m", "z_m"):
            bounds, value = getattr(limits, name), getattr(outcome.state, name)
            if bounds and outcome.status == "done" and not _inside(value, bounds):
                yield Breach("I3", f"{outcome.act_id} ended at {name} {value:g}, outside {bounds}")
        counted = outcome.state.dose_e - outcome.state_before.dose_e
        if abs(outcome.dose_e - max(counted, 0.0)) > SLACK * max(outcome.state.dose_e, 1.0):
            yield Breach("I4", f"{outcome.act_id} says {outcome.dose_e:g} electrons, its states {counted:g}")
    yield from _dose(config, outcomes)


def _inside(value, bounds):
    tolerance = 1e-3 * (bounds[1] - bounds[0])  # encoders are not exact; the guard judged the request
    return bounds[0] - tolerance <= value <= bounds[1] + tolerance


def _dose(config, outcomes):
    budget = BudgetConfig.model_validate(config.get("budget") or {})
    if budget.dose_e is None or not outcomes:
        return
    spent, largest = sum(o.dose_e for o in outcomes), max(o.dose_e for o in outcomes)
    if spent > budget.dose_e + largest:
        yield Breach("I4", f"{spent:g} electrons on the sample, the budget is {budget.dose_e:g}")


def _of_the_acts(folder, log):
    acts = [entry for entry in log if entry.act_id]
    for act_id, count in Counter(entry.act_id for entry in acts).items():
        if count > 1:
            yield Breach("I1", f"{act_id} was done {count} times")
    reader = JournalReader.open(folder)
    intended = {record.body["act_id"]: record.time_s for record in reader.records("intent")}
    for entry in acts:
        if entry.act_id not in intended:
            yield Breach("I2", f"{entry.act_id} was done without an intent")
        elif getattr(entry, "start_s", None) is not None and entry.start_s < intended[entry.act_id] - SLACK:
            yield Breach("I2", f"{entry.act_id} began before its intent was written")
    started = {entry.act_id for entry in acts}
    for step in reader.steps() if acts else ():
        if step.outcome and step.outcome.status in {"done", "rejected"} and step.act_id not in started:
            yield Breach("I1", f"{step.act_id} has an outcome, but the instrument never did it")


def _of_the_end(final, ended):
    if ended and isinstance(final, MicroscopeState) and not final.blanked:
        yield Breach("I6", "the run is over and the beam is on")
