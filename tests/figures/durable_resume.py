"""Runs that are killed and resumed, and decisions made again from their record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from autoscope.chance import stream
from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.checkpoints import latest
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import Replayed, replay
from autoscope.journal import Journal, JournalReader
from tests.fault.killing import CASES, Laboratory
from tests.fault.served import serving
from tests.fault.test_resume_over_bus import Bench, survive, survive_server
from tests.figures.figure import Figure

STEPS, FEW_STEPS = 200, 30
NIGHT_ACTS, FEW_NIGHT_ACTS = 40_000, 1_500
CUT_ACTS = 150
"""So many acts before its end a long night is cut off."""
POLICIES = {
    "random": {},
    "gp": {},
    "deep_kernel": {},
}
WATCH = {"lease": "20 s", "grace": "5 s"}
"""A lease so long that none lapses on a busy computer; it dies with a server that is killed."""
LAPSING = {"lease": "3 s", "grace": "5 s"}
"""Where the agent alone is killed: who resumes its run waits until its lease has lapsed."""
SILVER = {"kind": "nanoparticles", "extent": ["300 nm", "300 nm"], "count": 4}
CATALYST = {"kind": "catalyst", "extent": ["2 um", "2 um"], "density": "40 um^-2"}


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the figures; every kill point and 200 steps a run only with ``slow``."""
    for case in CASES if slow else ("random ahead", "gp"):
        yield _kills(case, every=1 if slow else 9)
    yield from _bus_kills(slow)
    with tempfile.TemporaryDirectory() as folder:
        yield from _replays(Path(folder), STEPS if slow else FEW_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        yield from _long_night(Path(folder), NIGHT_ACTS if slow else FEW_NIGHT_ACTS)


def _kills(case: str, every: int) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        lab, failed = Laboratory(Path(folder), CASES[case]), []
        kills: Counter[str] = Counter()
        for at in range(1, len(lab.calls) + 1, every):
            for done_first in (False, True):
                try:
                    kills[lab.survives(at, done_first)] += 1
                except AssertionError as error:
                    failed.append(f"{lab.calls[at - 1]} {at}: {str(error)[:80]}")
    n = sum(kills.values()) + len(failed)
    how = (
        f"{case}: SIGKILL before and after every {f'{every}th ' if every > 1 else ''}call of disk and instrument "
        f"of a run of 8 acts ({len(lab.calls)} calls), 'resume', records compared with the undisturbed run; "
        f"{kills['over']} were over, {kills['begun']} had written nothing and were begun anew; "
        f"{failed or 'none differs'}"
    )
    share = (n - len(failed)) / n if n else 0.0
    return Figure(f"kills_survived_{case.replace(',', '').replace(' ', '_')}", share, "", "1.0", not failed, n, how)


def _bus_kills(slow: bool) -> Iterator[Figure]:
    for lookahead in (0, 1):
        with tempfile.TemporaryDirectory() as folder, serving(folder, watch=LAPSING) as server:
            bench = Bench(server, Path(folder), lookahead)
            calls = range(1, len(bench.calls) + 1, 1 if slow else 15)
            name, ahead = f"bus_kills_survived_lookahead_{lookahead}", ", lookahead" * lookahead
            how = f"agent, 8 acts over the bus{ahead}: SIGKILL before and after calls of disk and client"
            points = [(at, first) for at in calls for first in (False, True)]
            yield _survived(name, how, [partial(survive, bench, at, first) for at, first in points])
    with tempfile.TemporaryDirectory() as folder, serving(folder, watch=WATCH) as server:
        bench = Bench(server, Path(folder), 0)
        steps = [k for k, call in enumerate(bench.calls, start=1) if call == "environment.step"]
        points = [(at, first) for at in steps[:: 1 if slow else 4] for first in (False, True)]
        for both in (False, True):
            who = "server_and_agent" if both else "server"
            how = f"{who.replace('_', ' ')}: SIGKILL before and after acts, the server started again"
            kills = [partial(survive_server, bench, at, first, both) for at, first in points]
            yield _survived(f"bus_kills_survived_{who}", how, kills)


def _survived(name: str, how: str, kills: list[Callable[[], None]]) -> Figure:
    """Return the share of kills after which the run ended as the undisturbed one, with no act done twice."""
    failed = []
    for number, kill in enumerate(kills):
        try:
            kill()
        except AssertionError as error:
            failed.append(f"{number}: {str(error)[:80]}")
    share = (len(kills) - len(failed)) / len(kills)
    how += "; decisions and outcomes compared with the undisturbed run, acts counted by the column itself"
    return Figure(name, share, "", "1.0", not failed, len(kills), f"{how}; {failed or 'none differs'}")


# --- replay --------------------------------------------------------------------------------------------


def _environments(folder: Path) -> dict[str, dict[str, object]]:
    """Return three environments, each with its target: simulated, simulated behind the plug-in seam, stored data."""
    path = folder / "map.npz"
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:32, 0:32] / 32.0
    image = np.sin(7 * x) + np.cos(5 * y) + 0.05 * rng.standard_normal((32, 32))
    spectra = rng.poisson(50 * np.exp(image)[..., None] * np.ones(16)).astype(np.float32)
    np.savez(path, image=image, spectra=spectra, axis=np.arange(16.0), meta='{"px": "2 nm"}')
    overview = {"fov": "200 nm", "width_px": 32, "height_px": 32}
    return {
        "simulated": {
            "environment": {"name": "simulated", "options": {"microscope": {"specimens": [SILVER]}}},
            "scalarizers": {"t": {"name": "band_integral", "options": {"band": ["1.6 eV", "2.2 eV"]}}},
            "field": {"dwell": "20 ms", "overview": overview, "signals": ["EELS"]},
        },
        "microscope ahead": {
            "environment": {
                "name": "microscope",
                "options": {"instrument": {"name": "simulated", "options": {"specimens": [CATALYST]}}},
            },
            "scalarizers": {"t": {"name": "band_integral", "options": {"band": ["1.85 keV", "2.30 keV"]}}},
            "field": {"dwell": "2 s", "overview": overview | {"fov": "500 nm"}, "signals": ["EDS"]},
            "engine": {"lookahead": 1},
        },
        "replay": {
            "environment": {"name": "replay", "options": {"data": {"path": str(path), "dwell": "50 ms"}}},
            "scalarizers": {"t": {"name": "band_integral", "options": {}}},
            "field": {"dwell": "50 ms"},
        },
    }


def _replays(folder: Path, steps: int) -> Iterator[Figure]:
    total, identical, told = 0, 0, []
    for where, parts in _environments(folder).items():
        for policy, options in POLICIES.items():
            run = folder / f"{where.replace(' ', '_')}-{policy}"
            _record(run, parts, policy, options, steps)
            found = _again(run)
            total, identical = total + found.decisions, identical + found.identical
            told += [f"{where}, {policy}: {d}" for d in found.divergences[:1]]
    how = f"3 policies x 3 environments x {steps} steps, decisions made again from the journal, every field compared"
    yield Figure("replay_identical", identical / total, "", "1.0", identical == total, total, f"{how}; {told or ''}")
    yield from _elsewhere(folder, "two_threads", sys.executable, {"OMP_NUM_THREADS": "2"})
    other = os.environ.get("AUTOSCOPE_OTHER_PYTHON")
    if other:
        yield from _elsewhere(folder, "other_versions", other, {"OMP_NUM_THREADS": "1"})


def _record(run: Path, parts: dict[str, object], policy: str, options: dict[str, object], steps: int) -> None:
    field = parts["field"]
    assert isinstance(field, dict)
    config = {k: v for k, v in parts.items() if k != "field"} | {
        "name": "figure",
        "seed": 5,
        "budget": {"steps": steps},
        "policy": {"name": policy, "options": {"target": "t"} | field | options},
    }
    resolved = resolve(Document(yaml.safe_dump(config), "figure"))
    clock = SimClock()
    Engine(assemble(resolved, clock), Journal.create(run, clock=clock)).run()


def _again(run: Path, tolerance: float = 0.0) -> Replayed:
    reader = JournalReader.open(run)
    history = read_history(reader)
    resolved = resolve(Document(yaml.safe_dump(history.config), str(run)))
    policy = resolved.policy.plugin(resolved.policy.options, rng=stream(resolved.config.seed, "policy"))
    return replay(history, policy, Stored(reader), tolerance=tolerance)


def _elsewhere(folder: Path, name: str, python: str, settings: dict[str, str]) -> Iterator[Figure]:
    """Yield how far decisions agree in another process, bit for bit, within 1e-6, and in the action alone."""
    runs = [str(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    command = [python, "-m", "tests.figures.durable_resume", *runs]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    n, how = seen["decisions"], f"recorded with {_here()}, decided again with {seen['here']}"
    for what in ("identical", "within_1e-6", "same_action"):
        yield Figure(f"replay_{name}_{what}", seen[what] / n, "", "report", None, n, how)


# --- a long night ------------------------------------------------------------------------------------


def _long_night(folder: Path, acts: int) -> Iterator[Figure]:
    """Yield how long a long simulated run takes to be taken up, from its checkpoint and from its beginning."""
    from tests.unit.engine.test_checkpoints import cut, run

    field = {"overview": {"fov": "280 nm", "width_px": 256, "height_px": 256}, "signals": ["EELS"], "dwell": "2 ms"}
    config = {
        "name": "long",
        "seed": 1,
        "environment": {"name": "simulated", "options": {"microscope": {"specimens": [SILVER]}}},
        "policy": {"name": "random", "options": {"target": "t"} | field},
        "scalarizers": {"t": {"name": "band_integral", "options": {"band": ["1.6 eV", "2.2 eV"]}}},
        "budget": {"steps": acts},
    }
    begun = time.process_time()
    whole = run(folder / "whole", yaml.safe_dump(config))
    ran_s = time.process_time() - begun
    cut_off = cut(whole, folder / "cut", acts - CUT_ACTS)
    for from_beginning in (False, True):
        took_s, told = _taken_up(cut_off, from_beginning=from_beginning)
        where = "from its beginning" if from_beginning else "from its checkpoint"
        how = (
            f"random policy on the simulated microscope, cut off {CUT_ACTS} acts before its end: reading and proving "
            f"the record, and walking from act {told}; processor time, of which running all of it took {ran_s:.0f} s"
        )
        name = f"resume_long_night_{where.replace(' ', '_')}"
        aimed = not from_beginning and acts == NIGHT_ACTS
        goal = "< a tenth of the run" if aimed else ""
        yield Figure(name, round(took_s, 1), "s", goal, took_s < ran_s / 10 if aimed else None, acts, how)


def _taken_up(folder: Path, *, from_beginning: bool) -> tuple[float, int]:
    """Return the processor time in which a run is read, proven and walked to its end, and from which act on."""
    clock = SimClock()
    begun = time.process_time()
    reader = JournalReader.open(folder)
    with Journal.reopen(folder, clock=clock) as journal:
        history = read_history(reader)
        job = assemble(resolve(Document(yaml.safe_dump(history.config), "figure")), clock)
        begin = None if from_beginning else latest(job, history.checkpoints, len(history.told), reader)
        taken = Engine(job, journal, run_id=history.run_id).take_up(history, reader, None, begin)
        job.environment.close()
    return time.process_time() - begun, taken.checkpoint


def _here() -> str:
    import torch

    return f"torch {torch.__version__}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads"


def main() -> None:
    """Print, as one JSON line, how far the decisions of the runs named are the same in this process."""
    seen: Counter[str] = Counter()
    for run in map(Path, sys.argv[1:]):
        exact, near = _again(run), _again(run, 1e-6)
        seen.update({"decisions": exact.decisions, "identical": exact.identical, "same_action": exact.same_action})
        seen["within_1e-6"] += near.identical
    sys.stdout.write(json.dumps(dict(seen) | {"here": _here()}) + "\n")


if __name__ == "__main__":
    main()
