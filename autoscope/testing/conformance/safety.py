"""Checks of the safe state, and of calls from other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from autoscope.errors import InstrumentError
from autoscope.exposure import predict
from autoscope.records import Action, Blank, Wait
from autoscope.testing.conformance.bench import Bench, line, told
from autoscope.testing.conformance.report import Check

SAFE_WITHIN_S = 2.0
"""Longest time that making safe may take while an act is under way."""
UNDER_WAY_S = 1.0
"""Length of the act that is interrupted."""
BEGUN_S = 0.2
"""When it is interrupted."""


class _Call:
    """A call on a thread of its own, and what came of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="autoscope-check", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:  # whatever it was, the check tells it
            self.error = error

    def ended_within(self, duration_s: float) -> bool:
        """Return whether it has ended, after waiting for it at most so long."""
        self._thread.join(duration_s)
        return not self._thread.is_alive()


def check_safe(bench: Bench) -> Iterator[Check]:
    """Check that making safe blanks, at any time, any number of times, and never raises."""
    group, remedy = "safety", "make_safe must catch everything, blank first and never raise"
    if bench.can_do("blank") and not bench.gentle:
        bench.do(Blank(blanked=False))
    try:
        bench.instrument.make_safe()
        blanked = bench.instrument.state().blanked
        bench.instrument.make_safe()
        detail = "" if blanked else "the state says the beam is on"
    except Exception as error:
        blanked, detail = False, f"raised {told(error)}"
    yield line(group, "make_safe blanks the beam, twice as well as once", blanked, detail, remedy)
    if bench.can_do("blank"):
        yield _blanking(bench)
    yield _safe_under_way(bench)


def _blanking(bench: Bench) -> Check:
    promise = "blanking and unblanking are read back"
    if bench.gentle:
        return line("safety", promise, "not applicable", "gentle: the beam stays blanked")
    opened = bench.do(Blank(blanked=False)).state.blanked
    closed = bench.do(Blank(blanked=True)).state.blanked
    detail = "" if closed and not opened else f"after unblanking: blanked={opened}, after blanking: blanked={closed}"
    return line("safety", promise, closed and not opened, detail, "Read the blanker back")


def _safe_under_way(bench: Bench) -> Check:
    promise = "make_safe from another thread overrules an act under way"
    action = _long_act(bench)
    if action is None:
        return line("safety", promise, "not applicable", "no exposure takes long enough")
    act_s = predict(action, bench.instrument.state(), bench.can).time_s
    act = _Call(lambda: bench.do(action))
    over = act.ended_within(BEGUN_S)
    safe = _Call(bench.instrument.make_safe)
    quick = safe.ended_within(SAFE_WITHIN_S)
    ended = act.ended_within(3.0 * act_s + 30.0)
    blanked = bench.instrument.state().blanked if ended and quick else False
    unexpected = [e for e in (safe.error, act.error) if e is not None and not _aborted(e, act.error)]
    faults = [
        *([] if quick else [f"make_safe took more than {SAFE_WITHIN_S} s"]),
        *([] if ended else ["the act never ended"]),
        *([] if blanked or not (ended and quick) else ["the beam is on afterwards"]),
        *(f"raised {told(error)}" for error in unexpected),
    ]
    seen = "the act was over before" if over else "act aborted" if act.error else "act ended by itself"
    remedy = "Let make_safe take no lock that an act holds; abort the scan, and raise InstrumentError from the act"
    return line("safety", promise, not faults, "; ".join(faults) or seen, remedy)


def _aborted(error: BaseException, of_act: BaseException | None) -> bool:
    """Return whether an error is the honest end of an interrupted act."""
    return error is of_act and isinstance(error, InstrumentError)


def _long_act(bench: Bench) -> Action | None:
    if bench.can.native_scan or not bench.can_do("scan"):
        return None
    pixels = bench.scan().width_px ** 2
    dwell_s = bench.inside("dwell_s", UNDER_WAY_S / pixels)
    return bench.scan(dwell_s=dwell_s) if dwell_s * pixels <= 10.0 * UNDER_WAY_S else None


def check_threads(bench: Bench) -> Iterator[Check]:
    """Check that the instrument serves a thread other than the one that made it."""
    promise = "acts and read-back work from another thread"
    action: Action = Blank(blanked=True) if bench.can_do("blank") else Wait(duration_s=0.0)
    if bench.can_do("scan"):
        action = bench.small(32, 32)
    limit_s = 3.0 * predict(action, bench.instrument.state(), bench.can).time_s + 30.0
    acts = action.kind in bench.can.actions
    call = _Call(lambda: (bench.do(action) if acts else None, bench.instrument.state()))
    ended = call.ended_within(limit_s)
    detail = "" if ended else f"no answer within {limit_s:.0f} s"
    detail = f"raised {told(call.error)}" if call.error else detail
    remedy = "Open nothing that belongs to one thread, or hand calls over to that thread"
    yield line("threads", promise, ended and call.error is None, detail, remedy)
