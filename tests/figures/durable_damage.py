"""Whether damage to a record is seen, and what is left of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoscope.clock import SimClock
from autoscope.errors import JournalError
from autoscope.identity import load_or_make
from autoscope.journal import Journal, JournalReader, Record, verify
from autoscope.testing.disk import CarelessDisk
from tests.figures.durable_acts import QUICK, SEED, Writer, spectrum
from tests.figures.figure import Figure

FLIPS = 300 if QUICK else 10_000
CUT_EVERY = 211 if QUICK else 1


def corruption(home: Path) -> Iterator[Figure]:
    ended, killed = _small_run(home / "ended"), _small_run(home / "killed", killed=True)
    yield _flips(home, (ended, killed))
    yield _cuts(home, ended, "journal.sqlite", 4096)
    yield _cuts(home, killed, "journal.sqlite-wal", 2 * 4120)


def _small_run(folder: Path, *, killed: bool = False) -> Path:
    clock, steps = SimClock(), 6
    journal = Journal.create(folder, clock=clock, disk=CarelessDisk(), signer=load_or_make())
    writer = Writer(journal, clock)
    for step in range(steps):
        writer.act(step, spectrum(step))
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
        f"{name}, cut at every {CUT_EVERY} of its last {reach} bytes: seen (not verified, or not ended), then "
        "reopened; what is left is an unbroken beginning, every step proven but those whose spectrum was in the "
        "bytes cut off: they are named"
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
