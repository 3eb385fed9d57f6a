"""What a decision cannot do without, counted: bytes, flops, exponentials; and how fast this machine does each.

Counts are of the exact algorithm in use (rank-one update of mean and variance over the pool; rebuild by one triangular
product), each operand moved once. Floor: the larger of memory time and arithmetic time, on one core of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SINGLE, DOUBLE = 4, 8
BEST_OF = 5
ITERATIONS = 10
"""Evaluations of the evidence at a warm refit."""
NETWORK = (64, 64, 3)
NETWORK_STEPS = 20


@dataclass(frozen=True)
class Work:
    """Counted work: bytes moved, flops in single and double precision, exponentials of single precision."""

    bytes: float = 0.0
    single_flops: float = 0.0
    double_flops: float = 0.0
    exps: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.bytes + other.bytes,
            self.single_flops + other.single_flops,
            self.double_flops + other.double_flops,
            self.exps + other.exps,
        )


@dataclass(frozen=True)
class Machine:
    """Rates of one core, per second of CPU."""

    bytes: float
    single_flops: float
    double_flops: float
    exps: float

    @classmethod
    def measured(cls) -> Machine:
        """Measure: the best of a few repeats each."""
        rng = np.random.default_rng(0)
        a, b = rng.random((1024, 1024), dtype=np.float32), rng.random((1024, 1024), dtype=np.float32)
        c, d = a[:768, :768].astype(np.float64), b[:768, :768].astype(np.float64)
        table, row = np.ones((200, 160_000), dtype=np.float32), np.ones(200, dtype=np.float32)
        small = rng.random(16_384, dtype=np.float32)
        other = table.copy()
        copying = 2.0 * table.nbytes / _seconds(lambda: np.copyto(other, table))
        return cls(
            max(copying, table.nbytes / _seconds(lambda: row @ table)),
            2.0 * 1024**3 / _seconds(lambda: a @ b),
            2.0 * 768**3 / _seconds(lambda: c @ d),
            100 * small.size / _seconds(lambda: [np.exp(small) for _ in range(100)]),
        )

    def floor_s(self, work: Work) -> float:
        """Return the least time for some work: memory and arithmetic at once, each at its full rate."""
        arithmetic = work.single_flops / self.single_flops + work.double_flops / self.double_flops
        return max(work.bytes / self.bytes, arithmetic + work.exps / self.exps)

    def words(self) -> str:
        """Return the rates for people."""
        return (
            f"this core: {self.bytes / 1e9:.1f} GB/s, sgemm {self.single_flops / 1e9:.0f} GFLOP/s, "
            f"dgemm {self.double_flops / 1e9:.0f} GFLOP/s, {self.exps / 1e9:.2f} G exp/s"
        )


def _seconds(act: Callable[[], object]) -> float:
    act()
    times = []
    for _ in range(BEST_OF):
        started = time.process_time()
        act()
        times.append(time.process_time() - started)
    return max(min(times), 1e-9)


PLACE = 2
"""Columns of the summand on place, which is looked up on the lattice of the pixels."""


def kernel_work(rows: int, pool: int, groups: Sequence[int]) -> Work:
    """Return the work of covariances (rows, pool) of a sum of kernels over groups of so many columns each.

    Examples
    --------
    >>> kernel_work(2, 100, [3]).single_flops
    3200.0
    """
    computed = [size for size in groups if size != PLACE]
    flops = sum(2.0 * rows * pool * (size + 2) + 6.0 * rows * pool for size in computed)  # product; sum, root
    flops += float(rows * pool * (len(groups) - len(computed)))  # looked up: the sum alone
    table = sum(SINGLE * pool * (size + 2) for size in computed) + 4.0 * SINGLE * pool * (len(groups) - len(computed))
    return Work(bytes=float(table), single_flops=flops, exps=float(rows * pool * len(computed)))


def incremental_work(pool: int, n: int, asked: Sequence[Sequence[int]]) -> Work:
    """Return the work of one update of every member that is asked, and of one confidence bound with its maximum.

    Examples
    --------
    >>> incremental_work(1000, 200, []).bytes
    8000.0
    """
    total = Work(bytes=2.0 * SINGLE * pool, single_flops=4.0 * pool)  # mean and variance read; root, bound, compare
    for groups in asked:
        rows = Work(
            bytes=SINGLE * pool * (n + 5.0), single_flops=2.0 * pool * (n + 3.0)
        )  # V read, row written, moments
        total = total + kernel_work(1, pool, groups) + rows
    return total


def refit_work(
    pool: int, n: int, asked: Sequence[Sequence[int]], others: Sequence[Sequence[int]], network: bool = False
) -> Work:
    """Return the work of relearning every member and rebuilding the pool of those that are asked."""
    total = incremental_work(pool, n, [])
    for groups in (*asked, *others):
        # factor and inverse n^3; distances and derivative, 2 n^2 each per column; kernel, some 20 n^2 per group
        once = float(n) ** 3 + sum(4.0 * n * n * size + 20.0 * n * n for size in groups)
        total = total + Work(double_flops=ITERATIONS * once)
    for groups in asked:
        rows = Work(bytes=SINGLE * pool * (n + 4.0), single_flops=pool * (float(n) * n + 4.0 * n))
        total = total + kernel_work(n, pool, groups) + rows
    return total + (_network_work(pool, n) if network else Work())


def _network_work(pool: int, n: int) -> Work:
    """Return the work of training the network in bounded steps (three passes each) and of embedding the pool."""
    inputs, (first, second, last) = 25, NETWORK
    weights = inputs * first + first * second + second * last
    steps = NETWORK_STEPS * (6.0 * n * weights + 0.0)
    return Work(single_flops=steps + 2.0 * pool * weights, double_flops=NETWORK_STEPS * float(n) ** 3)
