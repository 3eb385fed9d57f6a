"""Numbers as people read them: rounded to what is known, with the unit that keeps them short."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autoscope.report.story import Reading

MINUS, THIN, TIMES = "\u2212", "\u202f", "\u00d7"
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def count(number: int) -> str:
    """Return a whole number with groups of three digits.

    Examples
    --------
    >>> count(12345).replace(THIN, " ")
    '12 345'
    """
    return f"{number:,}".replace(",", THIN).replace("-", MINUS)


def plain(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, powers of ten where it is very large or small.

    Examples
    --------
    >>> plain(0.012345), plain(51234.0).replace(THIN, " "), plain(3.21e12)
    ('0.0123', '51 200', '3.21×10¹²')
    """
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if not -4 <= power <= 6:
        mantissa = value / 10.0**power
        return f"{mantissa:.{digits - 1}f}{TIMES}10{str(power).translate(_SUPERSCRIPTS)}".replace("-", MINUS)
    rounded = round(value, digits - 1 - power)
    return f"{rounded:,.{max(0, digits - 1 - power)}f}".replace(",", THIN).replace("-", MINUS)


def with_std(value: float, std: float) -> str:
    """Return ``value ± std``, both to the second digit of the uncertainty.

    Examples
    --------
    >>> with_std(5123.4, 71.6).replace(THIN, " "), with_std(0.0123, 0.00056), with_std(2.5, 0.0)
    ('5 123 ± 72', '0.01230 ± 0.00056', '2.50')
    """
    if std <= 0 or not math.isfinite(std):
        return plain(value)
    power = math.floor(math.log10(std))
    if power > 6 or power < -5:
        return f"{plain(value)} ± {plain(std, 2)}"
    places = max(0, 1 - power)
    shown = (f"{round(number, 1 - power) + 0.0:,.{places}f}" for number in (value, std))
    return " ± ".join(shown).replace(",", THIN).replace("-", MINUS)


def beside(readings: Iterable[Reading]) -> str:
    """Return what image detectors read beside a spectrum, as ``HAADF 51.2 ± 0.3 counts, BF ...``."""
    return ", ".join(f"{r.name} {with_std(r.value, r.std)} {r.unit}".rstrip() for r in readings)


def duration(time_s: float) -> str:
    """Return a duration in the two largest units that matter.

    Examples
    --------
    >>> duration(27723.0), duration(185.0), duration(3600.0), duration(12.34), duration(0.0123), duration(2e-5)
    ('7 h 42 min', '3 min 5 s', '1 h', '12.3 s', '12.3 ms', '20 µs')
    """
    if time_s <= 0:
        return "0 s"
    for unit, scale in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if time_s < 999.5 * scale and time_s < 59.95:
            return f"{time_s / scale:.3g} {unit}"
    whole = round(time_s)
    names = ("h", whole // 3600, "min", whole % 3600 // 60) if whole >= 3600 else ("min", whole // 60, "s", whole % 60)
    return f"{names[1]} {names[0]}" + (f" {names[3]} {names[2]}" if names[3] else "")


def size(number: float) -> str:
    """Return an amount of data.

    Examples
    --------
    >>> size(1.5e9), size(512), size(0)
    ('1.5 GB', '512 B', '0 B')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number:.0f} B"


def length(length_m: float) -> str:
    """Return a length in the unit that gives one to three digits before the point.

    Examples
    --------
    >>> length(2.5e-9), length(1.5e-6), length(50e-9), length(3e-11)
    ('2.5 nm', '1.5 µm', '50 nm', '30 pm')
    """
    for unit, scale in (("mm", 1e-3), ("µm", 1e-6), ("nm", 1e-9)):
        if abs(length_m) >= 0.9995 * scale:
            return f"{length_m / scale:.3g} {unit}".replace("-", MINUS)
    return f"{length_m / 1e-12:.3g} pm".replace("-", MINUS)


def place(x_m: float, y_m: float) -> str:
    """Return a stage position: micrometres to the nanometre, or nanometres where it lies near the origin.

    Examples
    --------
    >>> place(3.2141e-6, -1.2e-6), place(1.4e-9, 0.0), place(1.5e-7, 0.0)
    ('3.214, −1.200 µm', '1.40, 0.00 nm', '150.0, 0.0 nm')
    """
    far_m = max(abs(x_m), abs(y_m))
    unit, scale, places = ("µm", 1e-6, 3) if far_m >= 1e-6 else ("nm", 1e-9, 1 if far_m >= 1e-7 else 2)
    numbers = (f"{round(m / scale, places) + 0.0:.{places}f}" for m in (x_m, y_m))
    return f"{', '.join(numbers)} {unit}".replace("-", MINUS)


def percent(share: float) -> str:
    """Return a share as a whole per cent, and ``< 1 %`` where it would vanish.

    Examples
    --------
    >>> percent(0.123), percent(0.001), percent(0.0)
    ('12 %', '< 1 %', '0 %')
    """
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def plural(number: int, one: str, many: str = "") -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "place"), plural(3, "place"), plural(2, "focus series", "focus series")
    ('1 place', '3 places', '2 focus series')
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
