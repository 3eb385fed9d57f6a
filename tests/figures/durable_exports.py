"""Exports of a real run, read back by other programs and compared value by value; memory over a long night."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoscope.exports import export
from autoscope.journal import JournalReader, Step
from autoscope.records import Frame, FrameRef
from tests.figures.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
STEPS = 1000
NIGHT_STEPS = 40_000
CHANNELS = 1024
MEMORY_MB = 150.0
"""What an export of a night may take beyond what importing its libraries takes."""
CONFIG = "configs/overnight_survey.yaml"


def figures(slow: bool) -> Iterator[Figure]:
    """Yield what a run of 1,000 steps is worth elsewhere; a night of 40,000 with ``slow``."""
    yield from of_a_run(STEPS)
    if slow:
        yield from of_a_night(NIGHT_STEPS)


@dataclass(frozen=True)
class _Compared:
    equal: int
    total: int


@dataclass(frozen=True)
class _Truth:
    """A run as the journal itself gives it."""

    folder: Path
    steps: tuple[Step, ...]
    frames: dict[str, tuple[FrameRef, Frame]]
    seconds: float
    """What reading and verifying every record and frame once took."""

    @property
    def frame_bytes(self) -> int:
        return sum(frame.data.nbytes for _, frame in self.frames.values())


def of_a_run(steps: int) -> Iterator[Figure]:
    """Yield the figures of one run with ``steps`` acts."""
    with tempfile.TemporaryDirectory() as scratch:
        truth = _run(Path(scratch), steps)
        readers: dict[str, tuple[str, Callable[[_Truth, Path], _Compared]]] = {
            "nexus": ("hyperspy", _by_hyperspy),
            "rocrate": ("rocrate and numpy", _by_rocrate),
            "prov": ("prov", _by_prov),
            "parquet": ("pyarrow", _by_pyarrow),
        }
        for name, (reader, compare) in readers.items():
            path = Path(scratch, f"out-{name}{'.nxs' if name == 'nexus' else ''}")
            started = time.perf_counter()
            export(truth.folder, name, path)
            seconds = time.perf_counter() - started
            found = compare(truth, path)
            how = f"{steps} acts of {CONFIG}, seed 1, {len(truth.frames)} frames, read by {reader}, value by value"
            yield Figure(
                f"export_{name}_equal", found.equal / found.total, "fraction", "= 1", found.equal == found.total,
                found.total, how,
            )  # fmt: skip
            how = f"{seconds:.1f} s against {truth.seconds:.1f} s to read and verify every record and frame once"
            yield Figure(f"export_{name}_time", round(seconds / truth.seconds, 2), "ratio", "", None, 1, how)
            size = _size(path)
            how = f"{size / 1e6:.1f} MB against {truth.frame_bytes / 1e6:.1f} MB of plain arrays"
            yield Figure(f"export_{name}_size", round(size / truth.frame_bytes, 3), "ratio", "", None, 1, how)


def _run(folder: Path, steps: int) -> _Truth:
    command = [str(Path(sys.executable).with_name("autoscope")), "run", CONFIG, "--runs", str(folder / "runs")]
    command += ["--quiet", "--no-report", "--set", f"budget.steps={steps}"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (run,) = (folder / "runs").iterdir()
    started = time.perf_counter()
    reader = JournalReader.open(run)
    acts = tuple(reader.steps())
    refs = [ref for act in acts if act.outcome for ref in act.outcome.frames]
    frames = {ref.file: (ref, reader.load_frame(ref)) for ref in refs}
    return _Truth(run, acts, frames, time.perf_counter() - started)


def _count(checks: Iterator[bool]) -> _Compared:
    found = list(checks)
    return _Compared(sum(found), len(found))


def _by_hyperspy(truth: _Truth, path: Path) -> _Compared:
    return _count(_hyperspy_checks(truth, path))


def _hyperspy_checks(truth: _Truth, path: Path) -> Iterator[bool]:
    """Yield whether each frame is equal in every pixel or channel, and each axis in scale, offset and unit."""
    import h5py
    import hyperspy.api as hs

    read = hs.load(path, nxdata_only=True, hardlinks_only=True, skip_array_metadata=True)
    seen = set()
    with h5py.File(path) as file:
        for signal in read if isinstance(read, list) else [read]:
            names = file[f"entry/{signal.metadata.General.title}/file"].asstr()[()]
            for k, name in enumerate(names):
                ref, frame = truth.frames[name]
                data = signal.data[k] if len(names) > 1 else signal.data
                yield data.dtype == frame.data.dtype and np.array_equal(data, frame.data)
                axes = list(signal.axes_manager._axes)[-len(ref.meta.axes) :]
                for axis, given in zip(axes, ref.meta.axes, strict=True):
                    same_scale = bool(np.isclose(axis.scale, given.scale, rtol=1e-9, atol=0.0))
                    yield (axis.offset, axis.units, axis.size) == (given.offset, given.unit, given.size) and same_scale
                seen.add(name)
    yield seen == set(truth.frames)


def _by_rocrate(truth: _Truth, path: Path) -> _Compared:
    return _count(_rocrate_checks(truth, path))


def _rocrate_checks(truth: _Truth, path: Path) -> Iterator[bool]:
    from rocrate.rocrate import ROCrate

    parts = {part.id: part for part in ROCrate(path).get("frames/")["hasPart"]}
    yield set(parts) == {f"frames/{name}" for name in truth.frames}
    for name, (ref, frame) in truth.frames.items():
        same = np.array_equal(np.load(path / "frames" / name), frame.data)
        yield same and parts[f"frames/{name}"]["sha256"] == ref.sha256


def _by_prov(truth: _Truth, path: Path) -> _Compared:
    return _count(_prov_checks(truth, path))


def _prov_checks(truth: _Truth, path: Path) -> Iterator[bool]:
    from prov.model import ProvDocument, ProvEntity

    records = ProvDocument.deserialize(str(path), format="json").get_records(ProvEntity)
    told: dict[str, dict[str, Any]] = {r.identifier.localpart: {str(k): v for k, v in r.attributes} for r in records}
    for act in truth.steps:
        decision, wanted = told[f"decision.{act.index}"], act.decision
        yield decision["prov:label"] == wanted.reason
        yield decision.get("autoscope:predicted_mean") == wanted.predicted_mean
        yield decision.get("autoscope:acquisition_value") == wanted.acquisition_value
        if act.outcome is None:
            continue
        outcome = told[f"outcome.{act.index}"]
        yield (outcome["autoscope:status"], outcome["autoscope:dose_e"]) == (act.outcome.status, act.outcome.dose_e)
        first = {value.name: value for value in reversed(act.outcome.values)}
        for value in first.values():
            yield outcome[f"autoscope:value.{value.name}"] == value.value
            yield outcome[f"autoscope:std.{value.name}"] == value.std
        for ref in act.outcome.frames:
            yield told[f"frame.{ref.file}"]["autoscope:sha256"] == ref.sha256


def _by_pyarrow(truth: _Truth, path: Path) -> _Compared:
    return _count(_table_checks(truth, path))


def _table_checks(truth: _Truth, path: Path) -> Iterator[bool]:
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    yield len(rows) == len(truth.steps)
    for row, act in zip(rows, truth.steps, strict=True):
        yield (row["step"], row["act_id"], row["reason"]) == (act.index, act.act_id, act.decision.reason)
        yield row["predicted_mean"] == act.decision.predicted_mean
        for name, value in act.decision.action.model_dump().items():
            if name != "kind":
                yield row[f"action_{name}"] == (list(value) if isinstance(value, tuple) else value)
        if act.outcome is not None:
            for name, value in act.outcome.state.model_dump().items():
                yield row[f"after_{name}"] == value
            yield row["frame_sha256"] == [ref.sha256 for ref in act.outcome.frames]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


# --- a night -----------------------------------------------------------------------------------------

EXPORTING = """
import re, sys
from pathlib import Path
from autoscope.exports import export
if sys.argv[2] != "nothing":
    export(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
else:
    import h5py, autoscope.exports.nexus
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""
"""Tells the most memory it held itself; ``ru_maxrss`` would begin with that of the process that started it."""


def of_a_night(steps: int) -> Iterator[Figure]:
    """Yield memory, time and size of exports of a night of single spectra, each in a process of its own."""
    from tests.unit.exports.lab import Lab

    with tempfile.TemporaryDirectory() as scratch:
        lab = Lab(Path(scratch, "night"), channels=CHANNELS).overview(128)
        for _ in range(steps // 500):
            lab.measure(500)
            lab.frames.clear()
        run = lab.end()
        frames_mb = steps * CHANNELS * 4 / 1e6
        floor_mb, _ = _peak_mb(run, "nothing", Path(scratch, "none"))
        for name in ("nexus", "parquet", "prov"):
            peak_mb, seconds = _peak_mb(run, name, Path(scratch, name))
            size_mb = _size(Path(scratch, name)) / 1e6
            how = f"{steps} spectra of {CHANNELS} channels ({frames_mb:.0f} MB), {seconds:.0f} s, "
            how += f"{size_mb:.0f} MB written; above {floor_mb:.0f} MB of a process that only imports"
            above = peak_mb - floor_mb
            goal = f"< {MEMORY_MB:.0f}"
            yield Figure(f"export_{name}_night_memory", round(above), "MB", goal, above < MEMORY_MB, 1, how)


def _peak_mb(run: Path, name: str, output: Path) -> tuple[float, float]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", EXPORTING, str(run), name, str(output)],
        capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return float(done.stdout), time.perf_counter() - started
