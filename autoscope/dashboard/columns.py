"""One row a step, in numpy columns that grow: a run of any length in a few dozen bytes a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.dashboard.skimming import Concluded

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

STATUSES = ("", "open", "done", "overruled", "refused", "rejected", "failed")
"""Status of a step by number; the first: nothing is known of it; ``overruled``: a person did not want it done."""
OPEN = STATUSES.index("open")
IN_VAIN = STATUSES.index("refused")
"""From this number on an act came to nothing."""
MOST_TARGETS = 16
"""So many names of values are kept apart."""
FARTHEST = 100_000
"""A step so far beyond the last one is taken for damage, not for a gap."""

_FLOATS = ("begun_s", "ended_s", "x_m", "y_m", "mean", "std", "dose_e", "bytes")
_INTEGERS = ("intent_seq", "outcome_seq", "status", "purpose", "slot", "images", "spectra")


@dataclass(frozen=True, slots=True)
class Steps:
    """What is known of every step, by its number; arrays are (n,) and read-only, NaN or 0 where nothing is known.

    ``x_m`` and ``y_m`` are the place a step is about in the stage frame, ``dose_e`` the instrument's counter after it,
    ``values`` and ``uncertainties`` the measured targets by name.
    """

    begun_s: Floats
    ended_s: Floats
    x_m: Floats
    y_m: Floats
    mean: Floats
    std: Floats
    dose_e: Floats
    bytes: Floats
    intent_seq: Integers
    outcome_seq: Integers
    status: Integers
    purpose: Integers
    slot: Integers
    images: Integers
    spectra: Integers
    purposes: tuple[str, ...]
    values: dict[str, Floats]
    uncertainties: dict[str, Floats]
    units: dict[str, str]

    def __len__(self) -> int:
        return len(self.status)

    def until(self, step: int) -> Steps:
        """Return the steps before a given one."""
        cut = {name: getattr(self, name)[:step] for name in (*_FLOATS, *_INTEGERS)}
        values, stds = ({k: v[:step] for k, v in held.items()} for held in (self.values, self.uncertainties))
        return Steps(**cut, purposes=self.purposes, values=values, uncertainties=stds, units=self.units)

    def done(self) -> NDArray[np.bool_]:
        """Return which steps came to something, (n,)."""
        return np.asarray(self.status == STATUSES.index("done"))

    def concluded(self) -> int:
        """Return how many steps are over, whatever came of them."""
        return int((self.status > STATUSES.index("open")).sum())

    def purpose_of(self, step: int) -> str:
        """Return the word for what a step is for."""
        return self.purposes[int(self.purpose[step])]


class StepColumns:
    """Columns that grow; `steps` shows them without copying."""

    def __init__(self) -> None:
        self._size, self._room = 0, 256
        self._held: dict[str, NDArray[Any]] = {name: np.full(self._room, np.nan) for name in _FLOATS}
        self._held |= {name: np.zeros(self._room, dtype=np.int64) for name in _INTEGERS}
        self._values: dict[str, Floats] = {}
        self._stds: dict[str, Floats] = {}
        self._units: dict[str, str] = {}
        self._purposes: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}

    def __len__(self) -> int:
        return self._size

    def put(self, step: int, **numbers: float) -> None:
        """Set some columns of a step.

        Raises
        ------
        ValueError
            The step is negative, or so far beyond the last that the record must be damaged.
        """
        self._reach(step)
        for name, number in numbers.items():
            self._held[name][step] = number

    def intend(
        self, step: int, seq: int, begun_s: float, place_m: tuple[float, float], slot: int, mean: float, std: float,
        purpose: str,
    ) -> None:  # fmt: skip
        """Enter an intent: all that `put` and `put_purpose` would, at once; raises as `put`."""
        self._reach(step)
        held, number = self._held, self._numbers.get(purpose)
        held["intent_seq"][step], held["begun_s"][step], held["status"][step] = seq, begun_s, OPEN
        held["x_m"][step], held["y_m"][step] = place_m
        held["slot"][step], held["mean"][step], held["std"][step] = slot, mean, std
        if number is None:
            self.put_purpose(step, purpose)
        else:
            held["purpose"][step] = number

    def conclude(self, step: int, seq: int, ended_s: float, said: Concluded) -> None:
        """Enter an outcome: all that `put` and `put_value` would, at once; raises as `put`."""
        self._reach(step)
        held = self._held
        held["outcome_seq"][step], held["ended_s"][step] = seq, ended_s
        held["status"][step], held["dose_e"][step] = STATUSES.index(said.status), said.dose_e
        held["slot"][step], held["bytes"][step] = said.slot, said.bytes
        held["images"][step], held["spectra"][step] = said.images, said.spectra
        for name, value, std, unit in said.values:
            self.put_value(step, name, value, std, unit)

    def put_purpose(self, step: int, purpose: str) -> None:
        """Set what a step is for."""
        if purpose not in self._numbers:
            self._numbers[purpose] = len(self._purposes)
            self._purposes.append(purpose)
        self.put(step, purpose=self._numbers[purpose])

    def put_value(self, step: int, name: str, value: float, std: float, unit: str) -> None:
        """Set a measured value; names beyond `MOST_TARGETS` are left out."""
        if name not in self._values:
            if len(self._values) >= MOST_TARGETS:
                return
            self._values[name], self._stds[name] = (np.full(self._room, np.nan) for _ in range(2))
        self._units[name] = unit
        self._values[name][step], self._stds[name][step] = value, std

    def steps(self) -> Steps:
        """Return all rows as they are now."""
        cut = {name: _shown(column[: self._size]) for name, column in self._held.items()}
        values, stds = ({k: _shown(v[: self._size]) for k, v in held.items()} for held in (self._values, self._stds))
        return Steps(**cut, purposes=tuple(self._purposes), values=values, uncertainties=stds, units=dict(self._units))

    def _reach(self, step: int) -> None:
        if 0 <= step < self._size:
            return
        if not 0 <= step <= self._size + FARTHEST:
            raise ValueError(f"step {step} after step {self._size - 1}")
        self._size = step + 1
        if self._size > self._room:
            self._room = max(self._size, 2 * self._room)
            for held in (self._held, self._values, self._stds):
                for name, column in held.items():
                    held[name] = _grown(column, self._room)


def _grown(column: NDArray[Any], room: int) -> NDArray[Any]:
    more = np.full(room, np.nan if column.dtype.kind == "f" else 0, dtype=column.dtype)
    more[: len(column)] = column
    return more


def _shown(column: NDArray[Any]) -> NDArray[Any]:
    view = column.view()
    view.setflags(write=False)
    return view
