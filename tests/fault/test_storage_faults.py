"""Faults of storage through the whole engine: full, broken, forgetful disks. The beam is blanked, nothing is lost."""

import errno
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.engine.events import RunStatus
from autoscope.errors import JournalError, JournalFull
from autoscope.journal import Journal, JournalReader, LocalDisk, verify
from autoscope.testing.disk import CarelessDisk, FaultyDisk
from autoscope.testing.forgetful import ForgetfulDisk, PowerCut
from tests.fault.invariants import assert_hold, check
from tests.unit.engine.scripted import Trial, spot

ACTS = 4


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch):
    monkeypatch.setattr("autoscope.journal.reserve.RESERVE_BYTES", 1 << 14)


@pytest.fixture(params=["small", "files"])
def size(request, monkeypatch):
    """Keep frames in the database, or in files as large ones are."""
    if request.param == "files":
        monkeypatch.setattr("autoscope.journal.shelf.SMALL_BYTES", 0)
    return request.param


def run_engine(folder, disk, acts=ACTS, lookahead=0):
    """Run scripted acts to a disk; return the trial, whose end is None where not even that could be recorded."""
    clock = SimClock()
    trial = Trial([spot(k) for k in range(acts)], clock=clock, engine={"lookahead": lookahead})
    trial.engine._recorder = Journal.create(folder, clock=clock, disk=disk)
    trial.begun = len(disk.calls)
    with suppress(JournalError):
        trial.run()
    return trial


def assert_safe(trial):
    assert trial.environment.safe >= 1
    assert trial.environment.closed
    assert trial.environment.read_state().blanked


def count(folder):
    disk = FaultyDisk()
    return run_engine(folder, disk).begun, len(disk.calls)


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_disk_full_at_any_write_ends_the_run_blanked_with_its_end_recorded(tmp_path, size, for_ever):
    begun, calls = count(tmp_path / "count")
    for at in range(begun + 1, calls + 1):
        folder = tmp_path / f"run{at}"
        trial = run_engine(folder, FaultyDisk(at, "full", for_ever=for_ever))
        assert_safe(trial)
        assert_hold(folder, trial.environment.acts, final=trial.environment.read_state())
        assert trial.end is not None
        assert trial.end.status is RunStatus.FAILED or verify(folder).proven_steps == ACTS  # the reserve took the end
        with Journal.reopen(folder, clock=SimClock()) as journal:  # when space is free again
            journal.append("run_resumed", {})
        assert verify(folder).ok


def test_a_disk_that_fails_to_flush_is_never_asked_again_and_the_beam_is_blanked(tmp_path, size):
    begun, calls = count(tmp_path / "count")
    for at in range(begun + 1, calls + 1):
        folder, disk = tmp_path / f"run{at}", FaultyDisk(at, "broken")
        trial = run_engine(folder, disk)
        assert len(disk.calls) == at, "one failure, no retry"
        assert_safe(trial)
        assert trial.end is None
        assert_hold(folder, trial.environment.acts, final=trial.environment.read_state(), ended=False)
        with Journal.reopen(folder, clock=SimClock()) as journal:
            journal.append("run_resumed", {})
        assert verify(folder).ok


@pytest.mark.parametrize("lookahead", [0, 1])
def test_a_power_cut_at_any_call_loses_nothing_that_was_promised(tmp_path, size, lookahead):
    """All that was not flushed is lost or torn, as on a disk that means what fsync says and no more."""
    counting = ForgetfulDisk(tmp_path / "count", tmp_path / "kept", 0, np.random.default_rng(0))
    run_engine(tmp_path / "count", counting, lookahead=lookahead)
    for at in range(1, len(counting.calls) + 1):
        folder, survivor = tmp_path / f"run{at}", tmp_path / f"after{at}"
        disk = ForgetfulDisk(folder, survivor, at, np.random.default_rng(at))
        promised = Promises()
        with suppress(PowerCut):
            promised.run(folder, disk, lookahead)
        if not (survivor / "journal.sqlite").is_file() or not promised.seqs:
            continue  # it never began
        with Journal.reopen(survivor, clock=SimClock()) as journal:
            journal.append("run_resumed", {})
        result = verify(survivor)
        assert result.ok, (at, result.summary)
        assert result.records >= len(promised.seqs), at
        assert_hold(survivor, promised.trial.environment.acts[: len(promised.outcomes)], ended=False)
        kept = {step.act_id for step in JournalReader.open(survivor).steps() if step.outcome}
        assert set(promised.outcomes) <= kept, at


class Promises:
    """A run that remembers which records were promised to be durable."""

    def __init__(self):
        self.seqs, self.outcomes, self.trial = [], [], None

    def run(self, folder, disk, lookahead):
        clock = SimClock()
        journal = Journal.create(folder, clock=clock, disk=disk)
        append = journal.append

        def remember(kind, body, *, step=None):
            self.seqs.append(append(kind, body, step=step))
            if kind == "outcome":
                self.outcomes.append(body.act_id)
            return self.seqs[-1]

        journal.append = remember
        self.trial = Trial([spot(k) for k in range(ACTS)], clock=clock, engine={"lookahead": lookahead})
        self.trial.engine._recorder = journal
        try:
            self.trial.run()
        finally:
            journal.close()


def test_a_disk_that_lied_about_flushing_is_found_out(tmp_path, monkeypatch):
    """The same test with the flush of files left out must fail, or it proves nothing."""
    monkeypatch.setattr("autoscope.journal.shelf.SMALL_BYTES", 0)
    monkeypatch.setattr(LocalDisk, "fsync", lambda self, file: None)

    class Liar(ForgetfulDisk):
        def fsync(self, file):
            self._call("fsync")

    disk = Liar(tmp_path / "run", tmp_path / "kept", 0, np.random.default_rng(0))
    run_engine(tmp_path / "run", disk)
    assert {breach.invariant for breach in check(tmp_path / "kept")} >= {"I7"}


@pytest.fixture
def small_disk(tmp_path):
    """Return a real file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root and Linux")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("room", ["predicted", "taken by others"])
def test_a_truly_full_disk_ends_the_run_and_it_goes_on_when_space_is_free(small_disk, room):
    folder, filler = small_disk / "run", small_disk / "filler"

    def during(n):
        if n == 5 and room == "taken by others":
            fill(filler)

    clock = SimClock()
    trial = Trial([spot(k, dwell_s=1.0) for k in range(4000)], clock=clock, during=during, engine={"lookahead": 0})
    trial.engine._recorder = Journal.create(folder, clock=clock)
    with suppress(JournalError):
        trial.run()
    assert_safe(trial)
    assert trial.end is not None
    assert trial.end.status is RunStatus.FAILED
    assert "JournalFull" in trial.end.reason
    assert_hold(folder, trial.environment.acts, final=trial.environment.read_state())
    done = verify(folder).proven_steps
    assert done >= 5
    moved = Path(shutil.copytree(folder, small_disk.parent / "moved"))  # space was freed: the run moved to another disk
    with Journal.reopen(moved, clock=SimClock()) as journal:
        for _ in range(20):
            journal.append("note", {"text": "resumed"})
    result = verify(moved)
    assert result.ok, result.summary
    assert result.proven_steps == done


def fill(path):
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(os.urandom(1 << 12))


def test_new_run_on_a_full_disk_is_refused_before_any_beam(small_disk):
    fill(small_disk / "filler")
    with pytest.raises(JournalFull, match="space"):
        Journal.create(small_disk / "run", clock=SimClock())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_and_files_stay_bounded_over_ten_thousand_steps(tmp_path):
    """A night: as many open files at its end as early in it, and hardly more memory."""
    seen = []

    def during(n):
        if n in (1000, 9999):
            seen.append((len(list(Path("/proc/self/fd").iterdir())), resident_bytes()))

    clock = SimClock()
    trial = Trial([spot(k % 100) for k in range(10_000)], clock=clock, during=during, engine={"lookahead": 0})
    trial.policy.tell = lambda decision, result: None
    trial.policy.views = Nothing()
    trial.environment.acts = Counting()
    trial.log.append = lambda what: None
    trial.engine._recorder = Journal.create(tmp_path / "run", clock=clock, disk=CarelessDisk())
    trial.run()
    assert trial.end.steps == 10_000
    (files_early, memory_early), (files_late, memory_late) = seen
    assert files_late <= files_early
    assert memory_late - memory_early < 30e6
    assert (tmp_path / "run" / "journal.sqlite").stat().st_size < 10_000 * 5_000


class Nothing(list):
    def append(self, item):
        pass


class Counting(list):
    """Counts acts without keeping them."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def append(self, item):
        self.count += 1

    def __len__(self):
        return self.count


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_error_number_of_a_quota_counts_as_full():
    from autoscope.journal.disk import is_full

    assert is_full(OSError(errno.EDQUOT, "quota"))
    assert not is_full(OSError(errno.EROFS, "read-only"))
