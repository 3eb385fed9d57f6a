"""One timed case in a process of its own, so that its peak memory is its own: ``python -m tests.figures.latency_case``.

Takes keyword arguments of a case as JSON, and prints its answer as one line of JSON. One thread throughout.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.chance import stream
from autoscope.registry import load
from tests.figures.arena.sets import ROOT
from tests.figures.latency_floor import Machine, incremental_work, refit_work
from tests.figures.latency_world import Field, synthetic

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
Row = dict[str, Any]


def run_case(case: str, **arguments: Any) -> dict[str, Any]:
    """Return what a case answers, run in a fresh process with one thread.

    Raises
    ------
    RuntimeError
        The case failed; the end of what it said is in the message.
    """
    told = json.dumps({"case": case} | arguments)
    words = [sys.executable, "-W", "ignore", "-m", "tests.figures.latency_case", told]
    done = subprocess.run(words, env=os.environ | ONE_THREAD, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case} ended with {done.returncode}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_mb(status: Path = Path("/proc/self/status")) -> float:
    """Return the largest resident memory this process has had, 10^6 bytes.

    Where the system tells the high-water mark of the program itself, that one: ``ru_maxrss`` also counts what the
    parent held when it started the program.
    """
    if status.exists():
        line = next(text for text in status.read_text(encoding="ascii").splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Timed:
    """Drives one policy on a field and keeps CPU and wall seconds of every decision: tell(outcome) + ask(view)."""

    def __init__(self, policy: str, field: Field, options: Mapping[str, Any]) -> None:
        plugin = load("policies", policy)
        self.policy = plugin(plugin.Config(target="target", **options), rng=stream(1, "policy"))
        self.field = field
        self.rows: list[Row] = []
        self._told: tuple[Any, Any] | None = None
        self._fitted_n: int | None = None
        self._built: list[Any] = []

    def decide(self, count: int) -> None:
        """Take so many decisions and do what they say, one after another."""
        for _ in range(count):
            decision = self._timed(self._told, ())
            self._told = decision, self.field.answer(decision)

    def decide_ahead(self, count: int) -> None:
        """Take so many decisions, each while the measurement of the last one is still under way."""
        under_way, known = self._timed(self._told, ()), None
        for _ in range(count + 1):  # the first has nothing new to learn
            following = self._timed(known, (under_way.action,))
            known, under_way = (under_way, self.field.answer(under_way)), following
        self.policy.tell(*known)
        self._told = under_way, self.field.answer(under_way)

    def _timed(self, told: tuple[Any, Any] | None, pending: tuple[Any, ...]) -> Any:
        view = self.field.view(pending)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        if told is not None:
            self.policy.tell(*told)
        decision = self.policy.ask(view)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        fitted_n = None if decision.fit is None else decision.fit.n
        refit, built = fitted_n != self._fitted_n, self._posteriors()
        self.rows.append(
            {
                "n": len(self.policy._values_),
                "cpu_s": cpu_s,
                "wall_s": wall_s,
                "refit": refit,
                "rebuilt": refit and built != self._built,
                "iterations": 0 if decision.fit is None else decision.fit.iterations,
                "ahead": bool(pending) and told is not None,
            }
        )
        self._fitted_n, self._built = fitted_n, built
        return decision

    def _posteriors(self) -> list[Any]:
        """Return who is asked, and with how many measurements each posterior was last built anew."""
        committee = self.policy.__dict__.get("_committee")
        if committee is None or not committee.usable:
            return []
        models = {
            name: getattr(m, "_active", m) for name, m in committee._members.items() if name in committee.weights()
        }
        return [(name, getattr(m, "_built_", self.policy._fitted_n_)) for name, m in models.items()]

    def answer(self) -> dict[str, Any]:
        """Return rows, members of the committee with the columns of their kernels, and those that are asked."""
        committee = self.policy._committee
        members = {name: _groups(member) for name, member in committee._members.items()}
        asked = list(committee.weights())
        return {"rows": self.rows, "members": members, "asked": asked, "peak_mb": peak_mb(), "load": os.getloadavg()[0]}


def _groups(member: Any) -> list[int]:
    """Return the number of columns of every summand of a member's kernel."""
    model = getattr(member, "_active", member)
    model = getattr(model, "_process", model)  # what stands behind a deep kernel of many measurements
    return [len(group) for group in model._fitted().prior.groups]


def whole_run(policy: str, side: int, last: int, ahead: int = 0, alone: bool = False, **options: Any) -> dict[str, Any]:
    """Run a policy from the overview on to ``last`` measurements; then some decisions ahead; then the floor.

    With ``alone`` its first model has no rivals, so that it decides whatever it foretells.
    """
    timed = Timed(policy, synthetic(side, side), options)
    if alone:
        make = timed.policy._make_members
        timed.policy._make_members = lambda table: dict([next(iter(make(table).items()))])
    timed.decide(last + 2)  # the overview, and one with none measured
    peak = peak_mb()
    if ahead:
        timed.decide_ahead(ahead)
    answer = timed.answer() | {"peak_mb": peak}
    machine = Machine.measured()
    members = answer["members"]
    asked = [groups for name, groups in members.items() if name in answer["asked"]]
    others = [groups for name, groups in members.items() if name not in answer["asked"]]
    floor_s = {
        "incremental": machine.floor_s(incremental_work(side * side, 200, asked)),
        "refit": machine.floor_s(refit_work(side * side, 200, asked, others, policy == "deep_kernel")),
    }
    return answer | {"machine": machine.words(), "floor_s": floor_s}


def given_then_decide(
    policy: str, height: int, width: int, given: int, decisions: int, **options: Any
) -> dict[str, Any]:
    """Tell a policy measurements at random places, then let it decide; features are timed by themselves."""
    field = synthetic(height, width)
    before = peak_mb()
    timed = Timed(policy, field, {"initial": given} | options)
    timed.decide(1)
    timed.policy.tell(*timed._told)
    cpu_s = time.process_time()
    columns = timed.policy._table.values.shape[1]
    features = {"cpu_s": time.process_time() - cpu_s, "peak_mb": peak_mb(), "before_mb": before, "columns": columns}
    for pixel in stream(2, "given").choice(height * width, given, replace=False):
        timed.policy.tell(*field.told(int(pixel)))
    timed._told = None
    timed.decide(decisions)
    return timed.answer() | {"features": features}


def through_inducing(height: int, width: int, given: int, decisions: int, device: str = "cpu") -> dict[str, Any]:
    """Time the surrogate with inducing points alone: condition, pool posterior, confidence bound, choice."""
    from autoscope.surrogates.features import describe
    from autoscope.surrogates.inducing import InducingGaussianProcess

    field, rng = synthetic(height, width), stream(2, "given")
    table = describe(field.image, 11, 16)
    pixels = rng.choice(height * width, given, replace=False)
    target = field.target.ravel() + field.noise_std * field.rng.normal(size=height * width)
    model = InducingGaussianProcess((table.components, table.jets, table.place), "matern52", device=device)
    noise, taken = np.full(given, field.noise_std), np.zeros(height * width, dtype=np.bool_)
    taken[pixels] = True
    rows, best = [], int(pixels[-1])

    def learn() -> None:
        model.fit(table.values[pixels], target[pixels], noise)

    def update() -> None:
        model.condition(table.values[best][None], target[best : best + 1], noise[:1])

    model.attach(table.values)
    learn()
    for step in range(decisions):
        refit = step % 5 == 4
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        best = _decide(learn if refit else update, model, taken)
        row = {"cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - wall_s, "refit": refit}
        rows.append(row | {"n": given + step, "iterations": 0, "ahead": False})
        taken[best] = True
    return {"rows": rows, "peak_mb": peak_mb(), "members": {}, "asked": [], "load": os.getloadavg()[0]}


def _decide(learn: Callable[[], None], model: Any, taken: NDArray[np.bool_]) -> int:
    learn()
    mean, std = model.pool_posterior()
    worth = mean + 2.0 * std
    worth[taken] = -np.inf
    return int(np.argmax(worth))


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "whole_run": whole_run,
    "given_then_decide": given_then_decide,
    "through_inducing": through_inducing,
}


def main() -> int:
    """Run the case named on the command line."""
    from threadpoolctl import threadpool_limits

    given = json.loads(sys.argv[1])
    with threadpool_limits(1):  # torch, loaded only where a policy needs it, obeys OMP_NUM_THREADS
        answer = CASES[given.pop("case")](**given)
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
