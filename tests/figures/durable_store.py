"""What recording costs, how much a night takes, and whether damage is seen: ``make figures ONLY=durable_store``.

``AUTOSCOPE_FIGURES_QUICK=1`` measures everything on little data, to see that it works.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from autoscope.clock import SimClock
from autoscope.identity import load_or_make
from autoscope.journal import Journal, JournalReader, verify
from autoscope.journal.chain import pack
from autoscope.records import Frame, Outcome
from autoscope.testing.disk import CarelessDisk, FaultyDisk
from tests.figures.durable_acts import QUICK, FrameOf, Writer, image, spectrum
from tests.figures.durable_damage import corruption
from tests.figures.figure import Figure

SPECTRA, IMAGES, PAIRS = (100, 4, 2) if QUICK else (400, 12, 5)
NIGHT = 2_000 if QUICK else 40_000


def figures(slow: bool) -> Iterator[Figure]:
    """Yield what the record costs and proves; the night and every byte only where ``slow``."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("AUTOSCOPE_FIGURES_DISK", ".")) as place:
        home = Path(place)
        yield from _commits(home)
        yield _computing(home)
        yield _throughput(home, "1 KB spectra", spectrum, SPECTRA)
        yield _throughput(home, "32 MB frames", image, IMAGES)
        if slow or QUICK:
            yield from _night(home)
            yield from corruption(home)


# --- commits and throughput -----------------------------------------------------------------------------------------


def _commits(home: Path) -> Iterator[Figure]:
    for name, frame_of, goal in (("1 KB spectrum", spectrum, 2), ("32 MB frame", image, None)):
        disk, clock = FaultyDisk(), SimClock()
        with Journal.create(home / f"count{len(name)}", clock=clock, disk=disk, signer=load_or_make()) as journal:
            writer, begun, steps = Writer(journal, clock), len(disk.calls), 100 if goal else 3
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
    ratios, plain_ms = [], []
    for pair in range(PAIRS + 1):  # the first warms up
        plain_s, recorded_s = _in_turns(home / f"pair{pair}", _prepared([frame_of(step) for step in range(count)]))
        if pair:
            ratios.append(plain_s / recorded_s)
            plain_ms.append(plain_s / count * 1e3)
        shutil.rmtree(home / f"pair{pair}", ignore_errors=True)
    value, low, high = float(np.median(ratios)), min(ratios), max(ratios)
    how = (
        f"median of {PAIRS} series (range {low:.2f} to {high:.2f}) of {count} acts, each both ways in turns; plain: "
        "one file, the intent's bytes and fsync, then frame and outcome and fsync; recorded: Journal, signed; "
        f"plainly an act took {min(plain_ms):.2f} to {max(plain_ms):.2f} ms, which is what this disk's flushes make it"
    )
    name = f"recorder throughput against write + fsync, {name}"
    return Figure(name, round(value, 3), "ratio", ">= 0.8", value >= 0.8, PAIRS, how)


def _computing(home: Path) -> Figure:
    """Measure what recording an act costs where nothing is flushed: what a fast disk cannot take away."""
    acts, took_ms = _prepared([spectrum(step) for step in range(SPECTRA)]), []
    for series in range(PAIRS):
        place = home / f"computing{series}"
        with Journal.create(place, clock=SimClock(), signer=load_or_make(), disk=CarelessDisk()) as journal:
            begun = time.process_time()
            for step, act in enumerate(acts):
                _record(journal, step, *act)
            took_ms.append((time.process_time() - begun) / SPECTRA * 1e3)
        shutil.rmtree(place)
    how = f"processor time of intent, 1 KB spectrum and outcome; median of {PAIRS} series of {SPECTRA} acts, no flushes"
    return Figure("recorder processor time an act", round(float(np.median(took_ms)), 3), "ms", "", None, PAIRS, how)


class _Deaf:
    """A recorder that keeps nothing."""

    def append(self, *_: object, **__: object) -> None:
        """Keep nothing."""


Prepared = list[tuple[Frame, dict[str, Any], Outcome]]


def _prepared(frames: list[Frame]) -> Prepared:
    """Return frames with intents and outcomes, so that only writing them is measured."""
    writer, acts = Writer(_Deaf(), SimClock()), []
    for step, frame in enumerate(frames):
        intent, outcome = writer.prepared(step, frame)
        acts.append((frame, intent, outcome(_REF)))
    return acts


def _in_turns(place: Path, acts: Prepared) -> tuple[float, float]:
    """Return the seconds that writing takes plainly and recorded, act by act in turns on the same disk."""
    texts = [(_stored(intent), _stored(outcome.model_dump(mode="json"))) for _, intent, outcome in acts]
    took = {"plain": 0.0, "recorded": 0.0}
    with (
        Journal.create(place / "run", clock=SimClock(), signer=load_or_make()) as journal,
        (place / "plain").open("wb", buffering=0) as file,
    ):
        for step, (act, text) in enumerate(zip(acts, texts, strict=True)):
            for way in ("plain", "recorded") if step % 2 else ("recorded", "plain"):
                begun = time.perf_counter()
                if way == "plain":
                    _write_plainly(file, act[0], *text)
                else:
                    _record(journal, step, *act)
                took[way] += time.perf_counter() - begun
    return took["plain"], took["recorded"]


def _record(journal: Journal, step: int, frame: Frame, intent: dict[str, Any], outcome: Outcome) -> None:
    journal.append("intent", intent, step=step)
    ref = journal.write_frame(frame, step=step, index=0)
    journal.append("outcome", outcome.model_copy(update={"frames": (ref,)}), step=step)


def _write_plainly(file: FileIO, frame: Frame, intent: bytes, outcome: bytes) -> None:
    file.write(intent)
    os.fsync(file.fileno())
    file.write(frame.data.data)
    file.write(outcome)
    os.fsync(file.fileno())


def _stored(body: dict[str, Any]) -> bytes:
    packed = pack(json.dumps(body))
    return (packed if isinstance(packed, bytes) else packed.encode()) + bytes(300)  # and the columns beside the body


def _reference() -> Any:
    from autoscope.journal import MemoryJournal

    return MemoryJournal(clock=SimClock()).write_frame(spectrum(0), step=0, index=0)


_REF = _reference()


# --- a night --------------------------------------------------------------------------------------------------------


def _night(home: Path) -> Iterator[Figure]:
    folder, clock = home / "night", SimClock()
    early = late = 0.0
    with Journal.create(folder, clock=clock, disk=CarelessDisk(), signer=load_or_make()) as journal:
        writer = Writer(journal, clock)
        for step in range(NIGHT):
            writer.act(step, spectrum(step % 97))
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
