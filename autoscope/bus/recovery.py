"""What a server makes of its ledger when it starts: acts nobody answered, and a simulated instrument made again."""

from __future__ import annotations

from autoscope.bus.arrays import DEFAULT_PART_BYTES, to_parts
from autoscope.bus.execution import Doses, confirm
from autoscope.bus.ledger import Entry, Ledger
from autoscope.bus.messages import Done, Failed
from autoscope.bus.wire import pack, trouble_of
from autoscope.clock import SimClock
from autoscope.errors import AutoscopeError, ConfigError, NotReached, OutcomeUnknown
from autoscope.protocols import Clock, Instrument
from autoscope.records import MicroscopeState, Observation

SAFE = "safe"
"""Kind of the ledger's events that tell when the instrument was made safe; a simulated one repeats them."""


def settle_unanswered(ledger: Ledger, state: MicroscopeState, tolerances: dict[str, float], doses: Doses) -> list[str]:
    """Resolve acts that were accepted by an earlier life of the server and never answered, by reading back.

    A setting whose read-back is what was asked for counts as done. Anything else is unknown, is charged what it may
    have cost, and is never done again.

    Returns
    -------
    list of str
        One line for each, for people.
    """
    lines = []
    for entry in ledger.with_status("accepted"):
        if _was_reached(entry, state, tolerances):
            done = Done(act_id=entry.act_id, state_before=state, state=state)
            ledger.finish(entry.act_id, "done", done)
            lines.append(f"{entry.act_id} was cut short; the instrument reads back what it asked for: done")
            continue
        unknown = OutcomeUnknown(
            "the server ended while this act was under way: nobody can say whether it was done",
            where=entry.act_id,
            remedy="The state read back tells where the instrument is now; the act is not done again",
        )
        failed = Failed(act_id=entry.act_id, trouble=trouble_of(unknown))
        ledger.resolve(entry.act_id, "unknown", failed, doses.place(state))
        lines.append(f"{entry.act_id} was cut short; whether it was done is unknown")
    return lines


def _was_reached(entry: Entry, state: MicroscopeState, tolerances: dict[str, float]) -> bool:
    try:
        return confirm(entry.act.action, state, tolerances)
    except NotReached:
        return False


def void_unanswered(ledger: Ledger) -> list[str]:
    """Resolve acts of an instrument that died with its server: they left no trace and may be asked for again."""
    entries = ledger.with_status("accepted", "unknown")
    for entry in entries:
        ledger.resolve(entry.act_id, "void")
    return [f"{entry.act_id} died with the simulated instrument: it may be asked for again" for entry in entries]


def do_again(ledger: Ledger, instrument: Instrument, clock: Clock) -> int:
    """Bring a simulated instrument, just made, to where its predecessor was: every act again, at its time.

    Returns
    -------
    int
        How many acts were done.

    Raises
    ------
    ConfigError
        It does other things than its predecessor: its configuration or seed is another one.
    """
    if not isinstance(clock, SimClock):
        return 0
    count = 0
    safe = [when for _, when, kind, _ in ledger.events(last=1_000_000) if kind == SAFE and when is not None]
    for entry in ledger.with_status("done", "failed"):
        if entry.begun_s is None or entry.answer is None:
            continue
        while safe and safe[0] <= entry.begun_s:
            clock.wait(max(safe.pop(0) - clock.now_s(), 0.0))
            instrument.make_safe()
        clock.wait(max(entry.begun_s - clock.now_s(), 0.0))
        _repeat(entry, instrument)
        count += 1
    for when in safe:
        clock.wait(max(when - clock.now_s(), 0.0))
        instrument.make_safe()
    return count


def _repeat(entry: Entry, instrument: Instrument) -> None:
    try:
        observation = instrument.execute(entry.act)
    except AutoscopeError:
        same = isinstance(entry.answer, Failed)
    else:
        same = not isinstance(entry.answer, Done) or _packed_as(entry.answer, observation) == entry.answer
    if not same:
        raise ConfigError(
            "the simulated instrument, made again, does other things than the one that died",
            where=entry.act_id,
            remedy="Serve it with the configuration and seed it had, or start afresh with another --ledger folder",
        )


def _packed_as(kept: Done, observation: Observation) -> Done:
    """Return an observation as an answer, its arrays cut as they were: live ones may have been cut more finely."""
    cuts = iter(frame.array.part_bytes for frame in kept.frames)
    done, _ = pack(observation, lambda array: to_parts(array, part_bytes=next(cuts, DEFAULT_PART_BYTES))[0])
    if len(done.frames) != len(kept.frames):
        return done
    frames = tuple(
        new.replace(npy_sha256=None) if old.npy_sha256 is None else new for new, old in zip(done.frames, kept.frames)
    )  # a ledger of before there was one
    return done.replace(kept=kept.kept, frames=frames)
