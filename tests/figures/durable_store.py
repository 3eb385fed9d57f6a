"""What recording costs, how much a night takes, and whether damage is seen: ``make figures ONLY=durable_store``.

``AUTOSCOPE_FIGURES_QUICK=1`` measures everything on little data, to see that it works.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from autoscope.clock import SimClock
from autoscope.errors import JournalError
from autoscope.identity import load_or_make
from autoscope.journal import Journal, JournalReader, Record, verify
from autoscope.journal.chain import pack
from autoscope.records import (
    Axis,
    Candidate,
    Decision,
    FitSummary,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Outcome,
    Scalar,
)
from autoscope.testing.disk import CarelessDisk, FaultyDisk
from tests.figures.figure import Figure

SEED = 20260501
QUICK = bool(os.environ.get("AUTOSCOPE_FIGURES_QUICK"))
SPECTRA, IMAGES, PAIRS = (100, 4, 2) if QUICK else (400, 12, 5)
NIGHT = 2_000 if QUICK else 40_000
FLIPS = 300 if QUICK else 10_000
CUT_EVERY = 211 if QUICK else 1


def figures(slow: bool) -> Iterator[Figure]:
    """Yield what the record costs and proves; the night and every byte only where ``slow``."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("AUTOSCOPE_FIGURES_DISK", ".")) as place:
        home = Path(place)
        yield from _commits(home)
        yield _throughput(home, "1 KB spectra", _spectrum, SPECTRA)
        yield _throughput(home, "32 MB frames", _image, IMAGES)
        if slow or QUICK:
            yield from _night(home)
            yield from _corruption(home)


# --- what a step writes ---------------------------------------------------------------------------------------------

FrameOf = Callable[[int], Frame]


def _frame(signal: str, data: np.ndarray[Any, Any], axes: tuple[Axis, ...], step: int) -> Frame:
    meta = FrameMeta(signal=signal, axes=axes, time_s=float(step), dwell_s=1e-3, x_m=1e-9 * step, y_m=0.0)
    return Frame(meta, data)


def _spectrum(step: int) -> Frame:
    data = np.random.default_rng(step).poisson(5.0, 512).astype(np.uint16)
    return _frame("EELS", data, (Axis(name="energy", unit="eV", size=512),), step)


_NOISE = np.random.default_rng(SEED).integers(0, 65536, (4096, 4096), dtype=np.uint16)


def _image(step: int) -> Frame:
    axes = (Axis(name="y", unit="m", size=4096), Axis(name="x", unit="m", size=4096))
    return _frame("HAADF", np.roll(_NOISE, step, axis=0), axes, step)


def _decision(step: int, rng: np.random.Generator) -> Decision:
    """Return a decision as full as those of a model with eight runners-up."""
    spots = [Measure(x_m=x, y_m=y, dwell_s=1e-3) for x, y in rng.normal(0.0, 1e-8, (9, 2))]
    others = tuple(
        Candidate(action=spot, mean=float(m), std=float(abs(s)), value=float(v))
        for spot, (m, s, v) in zip(spots[1:], rng.normal(size=(8, 3)), strict=True)
    )
    fit = FitSummary(
        model="additive_gp", n=step, iterations=40, log_evidence=float(rng.normal()),
        hyperparameters={f"lengthscale_{k}": float(rng.normal()) for k in range(12)},
    )  # fmt: skip
    return Decision(
        action=spots[0], purpose="spectrum", reason=f"expected improvement {rng.normal():.3f} is the largest",
        target=f"point {step}", predicted_mean=float(rng.normal()), predicted_std=1.0,
        acquisition="expected_improvement",
        acquisition_value=float(rng.normal()), runners_up=others, candidates=4096, fit=fit,
        candidates_sha256=f"{step:064x}", data_sha256=f"{step + 1:064x}", random_state_sha256=f"{step + 2:064x}",
    )  # fmt: skip


class _Writer:
    """Writes acts as the engine does, to whatever keeps to `Recorder`."""

    def __init__(self, recorder: Any, clock: SimClock) -> None:
        self._recorder, self._clock, self._dose_e = recorder, clock, 0.0
        self._rng = np.random.default_rng(SEED)
        recorder.append("run_started", {"config": {}, "state": self._state()})

    def _state(self) -> MicroscopeState:
        return MicroscopeState(time_s=self._clock.now_s(), dose_e=self._dose_e, beam_current_a=5e-11, voltage_v=2e5)

    def prepared(self, step: int, frame: Frame) -> tuple[dict[str, Any], Callable[[Any], Outcome]]:
        """Return the intent, and what makes the outcome of a reference."""
        decision, before = _decision(step, self._rng), self._state()
        view = {"step": step, "time_s": self._clock.now_s(), "state": before.model_dump(mode="json")}
        asked = {"view": view, "told": step, "evidence_sha256": f"{step + 3:064x}"}
        intent = {"act_id": f"night-{step:06d}", "decision": decision.model_dump(mode="json"), "cost": {"bytes": 1024}}
        self._clock.wait(1.0)
        self._dose_e += 1e5
        after = self._state()
        value = Scalar(name="fe", value=float(self._rng.normal()), std=0.1, unit="counts", scalarizer="edge/1/ab12cd34")
        quality = {f"{frame.meta.signal}.{name}": float(self._rng.normal()) for name in ("mean", "std", "snr")}
        return intent | {"latency_s": 0.01, "asked": asked}, lambda ref: Outcome(
            act_id=f"night-{step:06d}", status="done", state_before=before, state=after,
            dose_e=after.dose_e - before.dose_e, frames=(ref,), values=(value,), quality=quality,
        )  # fmt: skip

    def act(self, step: int, frame: Frame) -> None:
        """Write one act."""
        intent, outcome = self.prepared(step, frame)
        self._recorder.append("intent", intent, step=step)
        ref = self._recorder.write_frame(frame, step=step, index=0)
        self._recorder.append("outcome", outcome(ref), step=step)


# --- commits and throughput -----------------------------------------------------------------------------------------


def _commits(home: Path) -> Iterator[Figure]:
    for name, frame_of, goal in (("1 KB spectrum", _spectrum, 2), ("32 MB frame", _image, None)):
        disk, clock = FaultyDisk(), SimClock()
        with Journal.create(home / f"count{len(name)}", clock=clock, disk=disk, signer=load_or_make()) as journal:
            writer, begun, steps = _Writer(journal, clock), len(disk.calls), 100 if goal else 3
            for step in range(steps):
                writer.act(step, frame_of(step))
            made = disk.calls[begun:]
        each = {kind: made.count(kind) / steps for kind in ("commit", "fsync", "fsync_folder")}
        flushes = sum(each.values())
        how = f"calls of the disk per act (intent, frame, outcome), signed: {each}"
        if goal:
            yield Figure(
                "durable commits a step, 1 KB spectrum", flushes, "flushes", "<= 2", flushes <= goal, steps, how
            )
        else:
            how += "; the flush of the file and of its name belong to the commit of the outcome"
            yield Figure(
                "durable commits a step, 32 MB frame",
                each["commit"],
                "commits",
                "<= 2",
                each["commit"] <= 2,
                steps,
                how,
            )
        shutil.rmtree(home / f"count{len(name)}")


def _throughput(home: Path, name: str, frame_of: FrameOf, count: int) -> Figure:
    """Compare recording with writing the same bytes plainly: each act's intent, flush, its frame and outcome, flush."""
    ratios = []
    for pair in range(PAIRS + 1):  # the first warms up
        acts = _prepared([frame_of(step) for step in range(count)])
        order = (_recorded, _plainly) if pair % 2 else (_plainly, _recorded)
        took = {measure: measure(home / f"pair{pair}", acts) for measure in order}
        if pair:
            ratios.append(took[_plainly] / took[_recorded])
        shutil.rmtree(home / f"pair{pair}", ignore_errors=True)
    value, low, high = float(np.median(ratios)), min(ratios), max(ratios)
    how = (
        f"median of {PAIRS} pairs in turns (range {low:.2f} to {high:.2f}); {count} acts each; plain: one file, for "
        "each act the intent's bytes and fsync, then frame and outcome and fsync; recorded: Journal, signed"
    )
    return Figure(
        f"recorder throughput against write + fsync, {name}",
        round(value, 3),
        "ratio",
        ">= 0.8",
        value >= 0.8,
        PAIRS,
        how,
    )


class _Deaf:
    """A recorder that keeps nothing."""

    def append(self, *_: object, **__: object) -> None:
        """Keep nothing."""


Prepared = list[tuple[Frame, dict[str, Any], Outcome]]


def _prepared(frames: list[Frame]) -> Prepared:
    """Return frames with intents and outcomes, so that only writing them is measured."""
    writer, acts = _Writer(_Deaf(), SimClock()), []
    for step, frame in enumerate(frames):
        intent, outcome = writer.prepared(step, frame)
        acts.append((frame, intent, outcome(_REF)))
    return acts


def _recorded(place: Path, acts: Prepared) -> float:
    with Journal.create(place / "run", clock=SimClock(), signer=load_or_make()) as journal:
        begun = time.perf_counter()
        for step, (frame, intent, outcome) in enumerate(acts):
            journal.append("intent", intent, step=step)
            ref = journal.write_frame(frame, step=step, index=0)
            journal.append("outcome", outcome.model_copy(update={"frames": (ref,)}), step=step)
        took = time.perf_counter() - begun
    shutil.rmtree(place / "run")
    return took


def _plainly(place: Path, acts: Prepared) -> float:
    place.mkdir(parents=True, exist_ok=True)
    texts = [(_stored(intent), _stored(outcome.model_dump(mode="json"))) for _, intent, outcome in acts]
    with (place / "plain").open("wb", buffering=0) as file:
        begun = time.perf_counter()
        for (frame, _, _), (intent_bytes, outcome_bytes) in zip(acts, texts, strict=True):
            file.write(intent_bytes)
            os.fsync(file.fileno())
            file.write(frame.data.data)
            file.write(outcome_bytes)
            os.fsync(file.fileno())
        took = time.perf_counter() - begun
    (place / "plain").unlink()
    return took


def _stored(body: dict[str, Any]) -> bytes:
    packed = pack(json.dumps(body))
    return (packed if isinstance(packed, bytes) else packed.encode()) + bytes(300)  # and the columns beside the body


def _reference() -> Any:
    from autoscope.journal import MemoryJournal

    return MemoryJournal(clock=SimClock()).write_frame(_spectrum(0), step=0, index=0)


_REF = _reference()


# --- a night --------------------------------------------------------------------------------------------------------


def _night(home: Path) -> Iterator[Figure]:
    folder, clock = home / "night", SimClock()
    early = late = 0.0
    with Journal.create(folder, clock=clock, disk=CarelessDisk(), signer=load_or_make()) as journal:
        writer = _Writer(journal, clock)
        for step in range(NIGHT):
            writer.act(step, _spectrum(step % 97))
            if step == NIGHT // 10:
                early = _resident_mb()
        late = _resident_mb()
        journal.append("run_ended", {"reason": "the night is over", "status": "completed", "steps": NIGHT})
    size_mb = (folder / "journal.sqlite").stat().st_size / 1e6
    frames_mb = _frames_mb(folder)
    how = f"{NIGHT} acts with eight runners-up, model summary, question and 1 KB spectrum on SimClock, without flushes"
    limit_mb = 200 * NIGHT / 40_000
    inside = f"{how}; the whole file is {size_mb:.1f} MB, spectra with their pages {frames_mb:.1f} MB of it"
    journal_mb = size_mb - frames_mb
    yield Figure(
        "journal of a night without frames",
        round(journal_mb, 1),
        "MB",
        f"< {limit_mb:g}",
        journal_mb < limit_mb,
        NIGHT,
        inside,
    )
    grown = late - early
    yield Figure(
        "memory grown over a night",
        round(grown, 1),
        "MB",
        "< 50",
        grown < 50,
        NIGHT,
        f"resident, last against 10 %; {how}",
    )
    begun = time.perf_counter()
    first = next(JournalReader.open(folder).steps())
    took = time.perf_counter() - begun
    ok = took < 1.0 and first.index == 0
    yield Figure(
        "open to first row", round(took, 4), "s", "< 1", ok, 1, "JournalReader.open(folder).steps(), first step"
    )
    begun = time.perf_counter()
    verdict = verify(folder)
    took = time.perf_counter() - begun
    yield Figure(
        "verify a night", round(took, 1), "s", "", verdict.ok, verdict.records, f"all of it, signatures too; {how}"
    )
    grown = _resident_mb() - late
    yield Figure(
        "memory of verifying a night", round(grown, 1), "MB", "< 200", grown < 200, verdict.records, "resident, grown"
    )
    shutil.rmtree(folder)


def _frames_mb(folder: Path) -> float:
    """Return what the table of frames and its index take, by counting the pages that are gone without them."""
    import sqlite3

    copy = folder / "counted.sqlite"
    shutil.copyfile(folder / "journal.sqlite", copy)
    connection = sqlite3.connect(copy, isolation_level=None)
    before = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute("DROP TABLE frames")
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    page = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    copy.unlink()
    return float(min(free, before) * page / 1e6)


def _resident_mb() -> float:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


# --- corruption -----------------------------------------------------------------------------------------------------


def _corruption(home: Path) -> Iterator[Figure]:
    ended, killed = _small_run(home / "ended"), _small_run(home / "killed", killed=True)
    yield _flips(home, (ended, killed))
    yield _cuts(home, ended, "journal.sqlite", 3 * 4096)
    yield _cuts(home, killed, "journal.sqlite-wal", 6 * 4120)


def _small_run(folder: Path, *, killed: bool = False) -> Path:
    clock, steps = SimClock(), 6
    journal = Journal.create(folder, clock=clock, disk=CarelessDisk(), signer=load_or_make())
    writer = _Writer(journal, clock)
    for step in range(steps):
        writer.act(step, _spectrum(step))
    if killed:
        kept = Path(shutil.copytree(folder, folder.with_name("killed_copy")))
        (kept / "journal.sqlite-shm").unlink()
        journal.close()
        return kept
    journal.append("run_ended", {"reason": "done", "status": "completed", "steps": steps})
    journal.close()
    return folder


def _seen(folder: Path, original: list[Record]) -> bool:
    """Return whether damage is reported, or has changed nothing that can be read."""
    try:
        if not verify(folder).ok:
            return True
        reader = JournalReader.open(folder)
        for step in reader.steps():
            for ref in step.outcome.frames if step.outcome else ():
                reader.load_frame(ref)
        return list(reader.records()) == original
    except JournalError:
        return True


def _flips(home: Path, runs: tuple[Path, ...]) -> Figure:
    rng, unseen = np.random.default_rng(SEED), 0
    originals = {run: list(JournalReader.open(run).records()) for run in runs}
    for run in runs:
        (run / "journal.sqlite-shm").unlink(missing_ok=True)
    for count in range(FLIPS):
        run = runs[count % len(runs)]
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else home) as place:
            copy = Path(shutil.copytree(run, Path(place) / "run"))
            files = [path for path in (copy / "journal.sqlite", copy / "journal.sqlite-wal") if path.is_file()]
            sizes = np.array([path.stat().st_size for path in files])
            path = files[int(rng.choice(len(files), p=sizes / sizes.sum()))]
            content = bytearray(path.read_bytes())
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(content))
            unseen += not _seen(copy, originals[run])
    how = (
        f"database of an ended run, database and log of a killed one in turns, seed {SEED}; seen: reported, or nothing "
        "that is read has changed"
    )
    return Figure("bit flips undetected", unseen, "flips", "0", unseen == 0, FLIPS, how)


def _cuts(home: Path, run: Path, name: str, reach: int) -> Figure:
    """Cut a file at each of its last bytes, and see that the run goes on from an unbroken, proven beginning."""
    original = list(JournalReader.open(run).records())
    (run / "journal.sqlite-shm").unlink(missing_ok=True)
    size = (run / name).stat().st_size
    lengths = range(max(size - reach, 0), size, CUT_EVERY)
    wrong = 0
    for length in lengths:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else home) as place:
            copy = Path(shutil.copytree(run, Path(place) / "run"))
            (copy / name).write_bytes((copy / name).read_bytes()[:length])
            wrong += not _recovered(copy, original)
    how = (
        f"{name}, cut at every {CUT_EVERY} of its last {reach} bytes: seen (not verified, or not ended), then reopened; "
        "what is left is an unbroken beginning, every step of it proven but those whose spectrum was in the bytes cut off: "
        "they are named"
    )
    return Figure(f"cuts of {name} undetected or losing more", wrong, "cuts", "0", wrong == 0, len(lengths), how)


def _recovered(copy: Path, original: list[Record]) -> bool:
    found = verify(copy)
    if found.ok and found.ended:
        return False
    try:
        with Journal.reopen(copy, clock=SimClock(), disk=CarelessDisk()) as journal:
            journal.append("note", {"text": "goes on"})
    except JournalError:
        return bool(found.problems) and found.records == 0  # nothing at all was left to go on from
    kept = [record for record in JournalReader.open(copy).records() if record in original]
    after, steps = verify(copy), sum(record.kind == "outcome" for record in kept)
    gone = sum("frame cannot be read" in problem.what for problem in after.problems)  # its bytes were in what was cut
    whole = kept == original[: len(kept)] and gone == len(after.problems)
    return whole and after.proven_steps == steps - gone >= found.proven_steps
