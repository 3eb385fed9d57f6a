"""The dose of every place: a map over the stage of what each cell of the sample has received."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import DoseExceeded
from autoscope.exposure import Cost, electrons
from autoscope.guard.geometry import corners
from autoscope.records import (
    Action,
    AreaLeft,
    Blank,
    Measure,
    MicroscopeState,
    MoveStage,
    Scan,
    SpectrumImage,
    dark_frames,
)

Floats = NDArray[np.float64]
BLOCK = 64
"""Cells along one side of a block; one number stands for a block that received the same everywhere."""
ROUNDING = 1e-9
"""Part of the limit by which a sum of exposures may pass it through rounding."""


@dataclass(frozen=True)
class _Patch:
    """A rectangle of the stage (metres) that receives the same fluence everywhere."""

    low: tuple[float, float]
    high: tuple[float, float]
    fluence: float


class AreaDose:
    """Keeps what each cell has received, in electrons per square metre averaged over the cell.

    An act is charged to where the stage read back, never to less than it exposes: a rotated scan to the rectangle
    around it, a beam left on to every cell it may rest on or pass in full. Drift of the sample is not known here.

    Parameters
    ----------
    limit_e_per_m2 : float
        What no cell may pass.
    cell_m : float
        Side of a cell.

    Examples
    --------
    >>> doses = AreaDose(limit_e_per_m2=1e4, cell_m=1.0)
    >>> state = MicroscopeState(time_s=0.0, x_m=3.5)
    >>> doses.charge(Measure(x_m=0.0, y_m=0.5, dwell_s=1.0), state, state, 2500.0)
    >>> doses.left(state).here_e_per_m2
    7500.0
    """

    def __init__(self, limit_e_per_m2: float, cell_m: float) -> None:
        self.limit_e_per_m2, self.cell_m = limit_e_per_m2, cell_m
        self._blocks: dict[tuple[int, int, int], Floats | float] = {}
        self._parked_m = (0.0, 0.0)
        self._seen_e: float | None = None

    def left(self, state: MicroscopeState) -> AreaLeft:
        """Return what the place under the optical axis may still receive."""
        point = _Patch((state.x_m, state.y_m), (state.x_m, state.y_m), 0.0)
        received = self._most(state.sample_slot, [point])
        here = max(self.limit_e_per_m2 - received, 0.0)
        return AreaLeft(limit_e_per_m2=self.limit_e_per_m2, cell_m=self.cell_m, here_e_per_m2=here)

    def permit(self, action: Action, state: MicroscopeState, cost: Cost) -> None:
        """Let an act pass that leaves every cell within the limit.

        Raises
        ------
        DoseExceeded
            Some cell would pass it.
        """
        if isinstance(action, Blank) and not action.blanked:
            raise DoseExceeded(
                "a beam left on exposes one place without end, which a dose for every area does not allow",
                where=action.kind,
                limit=f"{self.limit_e_per_m2:g} e/m2",
                remedy="Leave the beam blanked between exposures, or run without a dose per area",
            )
        if cost.dose_e <= 0.0:
            return
        reached = self._most(state.sample_slot, self._patches(action, state, state, cost.dose_e))
        if not reached <= self.limit_e_per_m2 * (1.0 + ROUNDING):
            raise DoseExceeded(
                "a place would receive more than the dose per area",
                where=action.kind,
                value=float(f"{reached:.6g}"),
                limit=f"{self.limit_e_per_m2:g} e/m2 over {self.cell_m:g} m",
                remedy="Go to a place that has received less, or expose it less",
            )

    def charge(self, action: Action, before: MicroscopeState, after: MicroscopeState, dose_e: float) -> None:
        """Take note of the electrons of an act, and of those that fell between the act before and this one."""
        between_e = 0.0 if self._seen_e is None else before.dose_e - self._seen_e
        self._seen_e = after.dose_e
        for patch in self._spots(before, self._parked_m, between_e):
            self._add(before.sample_slot, patch)
        if dose_e > 0.0:
            for patch in self._patches(action, before, after, dose_e):
                self._add(before.sample_slot, patch)
        self._park(action)

    def received_e_per_m2(self, slot: int, x_m: float, y_m: float) -> float:
        """Return what the cell at a place of the stage has received."""
        return self._most(slot, [_Patch((x_m, y_m), (x_m, y_m), 0.0)])

    # --- where an act exposes ---------------------------------------------------------------------

    def _patches(self, action: Action, before: MicroscopeState, after: MicroscopeState, dose_e: float) -> list[_Patch]:
        if dark_frames(action):  # electrons all the same: the beam was where it is parked
            return self._spots(before, self._parked_m, dose_e)
        if isinstance(action, (Scan, SpectrumImage)):
            area_m2 = action.fov_m**2 * action.height_px / action.width_px
            pixels = action.width_px * action.height_px
            nominal_e = electrons(before.beam_current_a, action.dwell_s * pixels)
            stray_e = max(dose_e - nominal_e, 0.0) if not before.blanked else 0.0
            x, y = np.array(corners(action)).T
            low = (before.x_m + float(x.min()), before.y_m + float(y.min()))
            high = (before.x_m + float(x.max()), before.y_m + float(y.max()))
            field = _Patch(low, high, dose_e / area_m2)
            return [field, *self._spots(before, self._parked_m, stray_e)]
        if isinstance(action, Measure):
            # before the dwell an unblanked beam rests where it was parked: nobody knows how long
            stray_e = 0.0 if before.blanked else dose_e
            return [*self._spots(before, (action.x_m, action.y_m), dose_e), *self._rest(action, before, stray_e)]
        if isinstance(action, MoveStage):
            return self._path(before, after, action, dose_e)
        return self._spots(before, self._parked_m, dose_e)

    def _rest(self, action: Measure, state: MicroscopeState, stray_e: float) -> list[_Patch]:
        if self._cell_of(state, self._parked_m) == self._cell_of(state, (action.x_m, action.y_m)):
            return []
        return self._spots(state, self._parked_m, stray_e)

    def _spots(self, state: MicroscopeState, offset_m: tuple[float, float], dose_e: float) -> list[_Patch]:
        return [self._spot(self._cell_of(state, offset_m), dose_e)] if dose_e > 0.0 else []

    def _cell_of(self, state: MicroscopeState, offset_m: tuple[float, float]) -> tuple[int, int]:
        x_m, y_m = state.x_m + offset_m[0], state.y_m + offset_m[1]
        return math.floor(x_m / self.cell_m), math.floor(y_m / self.cell_m)

    def _spot(self, cell: tuple[int, int], dose_e: float) -> _Patch:
        low = (cell[0] * self.cell_m, cell[1] * self.cell_m)
        return _Patch(low, (low[0] + self.cell_m, low[1] + self.cell_m), dose_e / self.cell_m**2)

    def _path(self, before: MicroscopeState, after: MicroscopeState, move: MoveStage, dose_e: float) -> list[_Patch]:
        ends = [(after.x_m, after.y_m)]
        ends.append((after.x_m if move.x_m is None else move.x_m, after.y_m if move.y_m is None else move.y_m))
        cells: set[tuple[int, int]] = {self._cell_of(before, self._parked_m)}
        for x_m, y_m in ends:
            steps = 2 + math.ceil(2 * max(abs(x_m - before.x_m), abs(y_m - before.y_m)) / self.cell_m)
            xs = np.floor(np.linspace(before.x_m, x_m, steps) / self.cell_m).astype(int)
            ys = np.floor(np.linspace(before.y_m, y_m, steps) / self.cell_m).astype(int)
            cells |= set(zip(xs.tolist(), ys.tolist()))
        return [self._spot(cell, dose_e) for cell in sorted(cells)]

    def _park(self, action: Action) -> None:
        if dark_frames(action):
            return
        match action:
            case Measure():
                self._parked_m = (action.x_m, action.y_m)
            case Scan() | SpectrumImage():
                self._parked_m = (action.centre_x_m, action.centre_y_m)
            case MoveStage():
                self._parked_m = (0.0, 0.0)

    # --- the map ----------------------------------------------------------------------------------

    def _pieces(self, slot: int, patch: _Patch) -> Iterator[tuple[tuple[int, int, int], Floats | float]]:
        """Yield the blocks a patch touches, with what each cell receives: one number where all receive the same."""
        (columns, across), (rows, down) = (self._shares(low, high) for low, high in zip(patch.low, patch.high))
        for by in range(rows // BLOCK, (rows + len(down) - 1) // BLOCK + 1):
            for bx in range(columns // BLOCK, (columns + len(across) - 1) // BLOCK + 1):
                shares = [_within(across, bx * BLOCK - columns), _within(down, by * BLOCK - rows)]
                key = (slot, bx, by)
                if all(bool(np.all(share == 1.0)) for share in shares):
                    yield key, patch.fluence
                else:
                    yield key, patch.fluence * shares[1][:, None] * shares[0][None, :]

    def _shares(self, low_m: float, high_m: float) -> tuple[int, Floats]:
        """Return the first cell of an interval and the part of each cell that it covers."""
        first = math.floor(low_m / self.cell_m)
        last = max(first, math.ceil(high_m / self.cell_m) - 1)
        edges = np.arange(first, last + 2) * self.cell_m
        covered = np.minimum(edges[1:], high_m) - np.maximum(edges[:-1], low_m)
        share: Floats = np.clip(covered / self.cell_m, 0.0, 1.0)
        share[share > 1.0 - 1e-9] = 1.0
        return first, share

    def _add(self, slot: int, patch: _Patch) -> None:
        for key, piece in self._pieces(slot, patch):
            self._blocks[key] = self._blocks.get(key, 0.0) + piece

    def _most(self, slot: int, patches: list[_Patch]) -> float:
        """Return the highest fluence among the cells of some patches, all of them added."""
        reached: dict[tuple[int, int, int], Floats | float] = {}
        touched: dict[tuple[int, int, int], NDArray[np.bool_] | bool] = {}
        for patch in patches:
            for key, piece in self._pieces(slot, patch):
                reached[key] = reached.get(key, self._blocks.get(key, 0.0)) + piece
        for patch in patches:
            for key, piece in self._pieces(slot, _Patch(patch.low, patch.high, 1.0)):
                touched[key] = touched.get(key, False) | (np.asarray(piece) > 0.0)
        values = [np.broadcast_to(reached[key], (BLOCK, BLOCK))[_mask(touched[key])] for key in reached]
        points = [self._at(slot, p) for p in patches if p.low == p.high]
        return max([float(v.max()) for v in values if v.size] + points, default=0.0)

    def _at(self, slot: int, point: _Patch) -> float:
        column, row = (math.floor(place / self.cell_m) for place in point.low)
        block = np.broadcast_to(self._blocks.get((slot, column // BLOCK, row // BLOCK), 0.0), (BLOCK, BLOCK))
        return float(block[row % BLOCK, column % BLOCK])


def _within(shares: Floats, start: int) -> Floats:
    """Return the shares of the cells of one block, which begins ``start`` cells after the first of ``shares``."""
    block = np.zeros(BLOCK)
    low, high = max(start, 0), min(start + BLOCK, len(shares))
    block[low - start : high - start] = shares[low:high]
    return block


def _mask(touched: NDArray[np.bool_] | bool) -> NDArray[np.bool_]:
    return np.broadcast_to(np.asarray(touched, dtype=np.bool_), (BLOCK, BLOCK))
