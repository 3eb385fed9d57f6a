import runpy
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.clock import SimClock
from autoscope.errors import JournalError
from autoscope.journal import Journal, JournalReader, MemoryJournal, verify

RUN = runpy.run_path(str(Path(__file__).parents[1] / "golden" / "journal" / "write_three_steps.py"))
RECORDS, STEPS = 10, 3
TEXTS = ("kind", "wall", "body", "previous", "hash")

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(words, json_values, max_size=4)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("laws") / "run"
    RUN["write_folder"](folder, STEPS)
    return folder


@pytest.fixture(scope="module")
def filed(tmp_path_factory):
    """Return a run whose frames are files, as large ones are."""
    folder = tmp_path_factory.mktemp("laws") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoscope.journal.shelf.SMALL_BYTES", 0)
        RUN["write_folder"](folder, STEPS)
    return folder


@contextmanager
def copy_of(folder):
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.copytree(folder, Path(place) / "run"))


@contextmanager
def database(folder):
    with closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_any_byte_flipped_in_any_text_of_any_record_is_found_and_placed(original, data):
    seq = data.draw(st.integers(1, RECORDS), "record")
    column = data.draw(st.sampled_from(TEXTS), "column")
    with copy_of(original) as folder:
        with database(folder) as connection:
            select = f"SELECT CAST({column} AS BLOB), typeof({column}) FROM records WHERE seq = ?"
            text, kind = connection.execute(select, (seq,)).fetchone()
            (step,) = connection.execute("SELECT step FROM records WHERE seq = ?", (seq,)).fetchone()
            flipped = bytearray(text)
            flipped[data.draw(st.integers(0, len(text) - 1), "place")] ^= 1 << data.draw(st.integers(0, 7), "bit")
            values = (bytes(flipped), seq)
            connection.execute(f"UPDATE records SET {column} = CAST(? AS {kind}) WHERE seq = ?", values)
        result = verify(folder)
    assert not result.ok
    assert (result.problems[0].seq, result.problems[0].step) == (seq, step)
    assert result.proven_steps == sum(seq > outcome for outcome in (3, 5, 7))


@given(
    seq=st.integers(1, RECORDS),
    change=st.sampled_from(["step", "time_s"]),
    value=st.integers(0, 2**62) | st.floats(allow_nan=False) | st.none(),
)
@settings(deadline=None, max_examples=60)
def test_any_other_number_in_any_record_is_found(original, seq, change, value):
    with copy_of(original) as folder:
        with database(folder) as connection:
            (before,) = connection.execute(f"SELECT {change} FROM records WHERE seq = ?", (seq,)).fetchone()
            if value is None and change == "time_s":
                value = before + 1.0
            connection.execute(f"UPDATE records SET {change} = ? WHERE seq = ?", (value, seq))
            (after,) = connection.execute(f"SELECT {change} FROM records WHERE seq = ?", (seq,)).fetchone()
        result = verify(folder)
    assert result.ok == (after == before and type(after) is type(before))
    assert result.ok or result.problems[0].seq == seq


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_record_removed_before_the_last_or_renumbered_is_found(original, data):
    seq = data.draw(st.integers(1, RECORDS - 1))
    new = data.draw(st.none() | st.integers(-5, 30).filter(lambda n: not 1 <= n <= RECORDS))
    with copy_of(original) as folder:
        with database(folder) as connection:
            if new is None:
                connection.execute("DELETE FROM records WHERE seq = ?", (seq,))
            else:
                connection.execute("UPDATE records SET seq = ? WHERE seq = ?", (new, seq))
        result = verify(folder)
    assert not result.ok
    assert result.proven_steps <= sum(seq > outcome for outcome in (3, 5, 7))


@given(order=st.permutations(range(1, RECORDS + 1)))
@settings(deadline=None, max_examples=40)
def test_any_other_order_of_the_records_is_found(original, order):
    with copy_of(original) as folder:
        with database(folder) as connection:
            connection.execute("UPDATE records SET seq = seq + 1000")
            for new, old in enumerate(order, start=1):
                connection.execute("UPDATE records SET seq = ? WHERE seq = ?", (new, old + 1000))
        result = verify(folder)
    assert result.ok == (list(order) == list(range(1, RECORDS + 1)))


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_any_bit_flipped_in_the_file_is_found_or_changes_no_record(original, data):
    content = bytearray((original / "journal.sqlite").read_bytes())
    place = data.draw(st.integers(0, 99) | st.integers(0, len(content) - 1), "place")
    content[place] ^= 1 << data.draw(st.integers(0, 7), "bit")
    with copy_of(original) as folder:
        (folder / "journal.sqlite").write_bytes(bytes(content))
        if 60 <= place < 64:  # the number of the layout, which must be refused as such
            with pytest.raises(JournalError, match="layout"):
                verify(folder)
        elif verify(folder).ok:
            assert list(JournalReader.open(folder).records()) == list(JournalReader.open(original).records())


@given(step=st.integers(0, STEPS - 1), data=st.data())
@settings(deadline=None, max_examples=80)
def test_any_bit_flipped_in_any_frame_is_found_and_only_that_step_unproven(filed, step, data):
    name = f"{step:06d}-00-HAADF.npy"
    content = bytearray((filed / "frames" / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1), "place")] ^= 1 << data.draw(st.integers(0, 7), "bit")
    with copy_of(filed) as folder:
        (folder / "frames" / name).write_bytes(bytes(content))
        result = verify(folder)
    (problem,) = result.problems
    assert problem.step == step
    assert problem.where.endswith(name)
    assert (result.frames_checked, result.proven_steps) == (STEPS - 1, STEPS - 1)


@given(step=st.integers(0, STEPS - 1), data=st.data())
@settings(deadline=None, max_examples=40)
def test_any_bit_flipped_in_any_small_frame_is_found_and_only_that_step_unproven(original, step, data):
    with copy_of(original) as folder:
        with database(folder) as connection:
            which = (f"{step:06d}-00-HAADF.npy",)
            (stored,) = connection.execute("SELECT content FROM frames WHERE name = ?", which).fetchone()
            content = bytearray(stored)
            content[data.draw(st.integers(0, len(content) - 1), "place")] ^= 1 << data.draw(st.integers(0, 7), "bit")
            connection.execute("UPDATE frames SET content = ? WHERE name = ?", (bytes(content), *which))
        result = verify(folder)
    assert [problem.step for problem in result.problems] == [step]
    assert (result.frames_checked, result.proven_steps) == (STEPS - 1, STEPS - 1)


@given(step=st.integers(0, STEPS - 1), data=st.data())
@settings(deadline=None, max_examples=40)
def test_frame_cut_or_grown_at_any_length_is_found(filed, step, data):
    path = Path("frames") / f"{step:06d}-00-HAADF.npy"
    content = (filed / path).read_bytes()
    length = data.draw(st.integers(0, 2 * len(content)).filter(lambda n: n != len(content)))
    with copy_of(filed) as folder:
        (folder / path).write_bytes((content * 2)[:length])
        assert [p.step for p in verify(folder).problems] == [step]


@given(written=st.lists(bodies, max_size=5))
@settings(deadline=None, max_examples=40)
def test_every_plain_body_comes_back_equal_from_memory(written):
    journal = MemoryJournal(clock=SimClock())
    for body in written:
        journal.append("note", body)
    assert [r.body for r in journal.records()] == written


@given(written=st.lists(bodies, min_size=1, max_size=3))
@settings(deadline=None, max_examples=15)
def test_every_plain_body_comes_back_equal_from_disk_and_verifies(written):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        with Journal.create(folder, clock=SimClock()) as journal:
            for body in written:
                journal.append("note", body)
        assert [r.body for r in JournalReader.open(folder).records()] == written
        assert verify(folder).ok


@given(body=bodies, bad=st.sampled_from([float("nan"), float("inf"), -float("inf")]), depth=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_nan_or_infinity_is_refused_at_any_depth(body, bad, depth):
    value = bad
    for level in range(depth):
        value = [value] if level % 2 else {"deeper": value}
    journal = MemoryJournal(clock=SimClock())
    with pytest.raises(JournalError, match="NaN or infinity"):
        journal.append("note", {**body, "bad": value})
    assert list(journal.records()) == []
