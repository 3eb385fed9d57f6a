"""Numbers as people at a microscope say them."""

from __future__ import annotations

import math

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """Return a value with a prefixed unit; a dash where there is none.

    Examples
    --------
    >>> quantity(4e-7, "m"), quantity(0.0, "m"), quantity(None, "s")
    ('400 nm', '0 m', '–')
    """
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    size = abs(value)
    factor, prefix = next(((f, p) for f, p in _PREFIXES if size >= f * (1 - 1e-12)), _PREFIXES[-1])
    if size == 0.0:
        factor, prefix = 1.0, ""
    return f"{value / factor:.{digits}g} {prefix}{unit}".strip()


def duration(seconds: float | None) -> str:
    """Return a time as hours, minutes and seconds.

    Examples
    --------
    >>> duration(3725.0), duration(59.4), duration(2.5 * 86400)
    ('1:02:05', '59.4 s', '2 d 12:00:00')
    """
    if seconds is None or not math.isfinite(seconds):
        return "\N{EN DASH}"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    text = f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{days} d {text}" if days else text


def electrons(count: float | None) -> str:
    """Return a number of electrons.

    Examples
    --------
    >>> electrons(9.87e8)
    '9.87e+08 e'
    """
    return "\N{EN DASH}" if count is None else f"{count:.3g} e"


def data_size(count: float) -> str:
    """Return a number of bytes.

    Examples
    --------
    >>> data_size(2.5e9)
    '2.5 GB'
    """
    return quantity(count, "B")


def estimate(mean: float | None, std: float | None, unit: str = "") -> str:
    """Return a prediction with its uncertainty.

    Examples
    --------
    >>> estimate(20491.8, 431.2, "counts")
    '2.049e+04 ± 4.3e+02 counts'
    """
    if mean is None or not math.isfinite(mean):
        return "\N{EN DASH}"
    spread = f" ± {std:.2g}" if std is not None and math.isfinite(std) else ""
    return f"{mean:.4g}{spread} {unit}".strip()
