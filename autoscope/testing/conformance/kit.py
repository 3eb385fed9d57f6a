"""The conformance kit: every check, one after the other, whatever happens in one of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from autoscope.errors import DoseExceeded
from autoscope.protocols import Instrument
from autoscope.testing.conformance.axes import check_axes
from autoscope.testing.conformance.bench import GENTLE, Bench, Checking, Steps, line, told
from autoscope.testing.conformance.deliveries import check_deliveries
from autoscope.testing.conformance.description import check_description, check_state
from autoscope.testing.conformance.exposures import check_dose_and_time, check_frames, check_once
from autoscope.testing.conformance.report import Check, Report
from autoscope.testing.conformance.safety import check_safe, check_threads
from autoscope.testing.conformance.settings import check_refusals, check_settings, check_unsupported

CHECKS: tuple[tuple[str, Checking], ...] = (
    ("description", check_description),
    ("state", check_state),
    ("refusals", check_unsupported),
    ("refusals", check_refusals),
    ("settings", check_settings),
    ("frames", check_frames),
    ("deliveries", check_deliveries),
    ("axes", check_axes),
    ("dose and time", check_dose_and_time),
    ("at most once", check_once),
    ("threads", check_threads),
    ("safety", check_safe),
)
"""Groups in the order they are checked: what could do harm comes after what shows whether it would."""


def check_instrument(
    instrument: Instrument,
    *,
    steps: Steps | None = None,
    gentle: bool = False,
    session: str = "",
    on_check: Callable[[Check], None] | None = None,
) -> Report:
    """Return which promises of the instrument protocol a driver keeps; never raises for a broken one.

    Stage and optics are brought back to where they were, and the beam is blanked at the end.

    Parameters
    ----------
    instrument : Instrument
        The driver, made and connected.
    steps : Steps, optional
        How far stage and lenses may go and how many electrons may be spent; small ones by default.
    gentle : bool
        For a real instrument: nothing out of range is asked of stage, optics or holder, the beam is not left
        unblanked, steps and dose are small (`GENTLE`).
    session : str
        Prefix of act identifiers; a new one by default.
    on_check : callable, optional
        Told each check as it is made.

    Examples
    --------
    >>> from autoscope.clock import SystemClock  # doctest: +SKIP
    >>> report = check_instrument(MyDriver(MyDriver.Config(), clock=SystemClock(), rng=rng))  # doctest: +SKIP
    >>> assert report.ok, str(report)  # doctest: +SKIP
    """
    found: list[Check] = []

    def note(check: Check) -> None:
        found.append(check)
        if on_check:
            on_check(check)

    try:
        bench = Bench(instrument, steps or (GENTLE if gentle else Steps()), gentle, session)
    except Exception as error:
        note(line("description", "describes itself and reads its state", "failed", told(error)))
        return Report(instrument=type(instrument).__name__, serial="?", gentle=gentle, checks=tuple(found))
    for group, check in CHECKS:
        _run(bench, group, check, note)
    with suppress(Exception):
        instrument.make_safe()
    can = bench.can
    return Report(
        instrument=can.instrument, serial=can.serial, simulated=can.simulated, gentle=gentle, checks=tuple(found)
    )


def _run(bench: Bench, group: str, check: Checking, note: Callable[[Check], None]) -> None:
    """Make the checks of a group and bring the instrument back, telling what stopped either."""
    try:
        for made in check(bench):
            note(made)
    except DoseExceeded as error:
        note(line(group, f"further checks of {group}", "not applicable", str(error)))
    except Exception as error:  # a driver may raise anything, and the other checks are still wanted
        note(line(group, f"{group} can be checked", "failed", f"raised {told(error)}", "Raise only what is promised"))
    try:
        bench.restore()
    except Exception as error:
        note(line(group, "stage and optics go back to where they were", "failed", f"raised {told(error)}"))
