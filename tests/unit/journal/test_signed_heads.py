import runpy
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from autoscope.clock import SimClock
from autoscope.journal import Journal, JournalReader, verify
from autoscope.journal.chain import link, pack
from autoscope.journal.signing import message
from autoscope.testing.disk import CarelessDisk
from tests.tampering import tamper

RUN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "journal" / "write_three_steps.py"))
SIGNER, OTHER = RUN["Signer"](1), RUN["Signer"](2)
PAGE = Path(__file__).parents[3] / "docs" / "journal.md"


@pytest.fixture
def folder(tmp_path):
    RUN["write_folder"](tmp_path / "run", signer=SIGNER)
    return tmp_path / "run"


def rebuild(folder, change, start=1):
    """Change a record and write the chain that follows anew, as somebody with rights to the folder could."""
    rows = list(JournalReader.open(folder).records())
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        before = None
        for row in rows:
            body = change(row) if row.seq >= start else row.body
            before = link(before, row.kind, body, step=row.step, time_s=row.time_s, wall=row.wall)
            values = (pack(before.body), before.previous, before.hash, before.seq)
            connection.execute("UPDATE records SET body = ?, previous = ?, hash = ? WHERE seq = ?", values)
        connection.commit()


def prettier(record):
    return record.body | {"quality": {"mean": 999.0}} if record.kind == "outcome" else record.body


def test_run_is_signed_from_its_first_record_to_its_last(folder):
    result = verify(folder, public_key=SIGNER.public_key)
    assert result.ok, result.summary
    assert (result.signed_by, result.signed_records) == ((SIGNER.public_key,), 10)
    assert f"signed by {SIGNER.public_key}" in result.summary


def test_chain_written_anew_as_a_whole_is_seen(folder):
    rebuild(folder, prettier)
    for key in (None, SIGNER.public_key):
        result = verify(folder, public_key=key)
        assert "was written anew" in result.problems[0].what


def test_chain_written_anew_and_signed_by_somebody_else_is_seen_with_the_public_key(tmp_path, folder):
    rebuild(folder, prettier)
    tamper(folder, "DELETE FROM signatures")
    stripped = verify(folder)
    assert "NOT SIGNED" in stripped.summary
    assert [SIGNER.public_key in problem.what for problem in stripped.problems] == [True]
    assert "it may have been written anew" in verify(folder, public_key=SIGNER.public_key).problems[-1].what
    RUN["write_folder"](tmp_path / "forged", signer=OTHER)
    assert verify(tmp_path / "forged").signed_by == (OTHER.public_key,)
    assert not verify(tmp_path / "forged", public_key=SIGNER.public_key).ok


def test_run_whose_signatures_were_taken_away_does_not_verify(folder):
    tamper(folder, "DELETE FROM signatures")
    verdict = verify(folder)
    assert not verdict.ok
    assert "the signatures were taken away" in verdict.problems[0].what


def test_signatures_of_somebody_else_in_place_of_those_promised_are_seen(folder):
    head = JournalReader.open(folder).records()
    last = list(head)[-1]
    tamper(folder, "DELETE FROM signatures")
    forged = OTHER.sign(message(last.seq, last.hash)).hex()
    tamper(folder, f"INSERT INTO signatures VALUES ({last.seq}, '{last.hash}', '{OTHER.public_key}', '{forged}')")
    verdict = verify(folder)
    assert verdict.signed_by == (OTHER.public_key,)
    assert "the signatures were taken away" in verdict.problems[0].what


def test_run_that_was_never_to_be_signed_verifies_and_is_said_to_be_unsigned(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    verdict = verify(tmp_path / "run")
    assert verdict.ok
    assert "NOT SIGNED" in verdict.summary


def test_tail_written_anew_after_a_signed_head_is_seen(folder):
    rebuild(folder, prettier, start=2)
    tamper(folder, "DELETE FROM signatures WHERE seq > 1")
    assert ["its end is not signed" in problem.what for problem in verify(folder).problems] == [True]


def test_records_cut_off_below_a_signed_head_are_seen(folder):
    tamper(folder, "DELETE FROM records WHERE seq > 7")
    assert "record 10 was signed, the last one here is 7" in verify(folder).problems[0].what


@pytest.mark.parametrize("column", ["hash", "public_key", "signature"])
def test_any_digit_of_a_signed_head_altered_is_seen(folder, column):
    change = f"UPDATE signatures SET {column} = 'f' || substr({column}, 2) WHERE substr({column}, 1, 1) != 'f'"
    tamper(folder, change)
    assert not verify(folder).ok


def test_signature_of_another_record_or_of_no_text_is_not_genuine(folder):
    tamper(folder, "UPDATE signatures SET signature = (SELECT signature FROM signatures WHERE seq = 1) WHERE seq = 10")
    assert "not genuine" in verify(folder).problems[0].what
    tamper(folder, "UPDATE signatures SET signature = 'no digits'")
    assert len([p for p in verify(folder).problems if "not genuine" in p.what]) == 2


def test_killed_run_still_has_a_recent_signed_head(tmp_path):
    journal = Journal.create(tmp_path / "run", clock=SimClock(), signer=SIGNER, disk=CarelessDisk())
    for _ in range(200):
        journal.append("note", {})
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    journal.close()
    result = verify(tmp_path / "killed", public_key=SIGNER.public_key)
    assert result.ok
    assert result.records - result.signed_records < 64
    assert "up to record" in result.summary


def test_closing_signs_the_head_of_a_run_that_did_not_end(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock(), signer=SIGNER) as journal:
        for _ in range(3):
            journal.append("note", {})
    assert verify(tmp_path / "run").signed_records == 3


def test_signing_costs_no_durable_commit_of_its_own(tmp_path):
    from autoscope.testing.disk import FaultyDisk

    disks = [FaultyDisk(), FaultyDisk()]
    for disk, signer in zip(disks, (None, SIGNER), strict=True):
        RUN["write_folder"](tmp_path / f"run{disks.index(disk)}", 3, disk, signer)
    assert disks[0].calls == disks[1].calls


def test_annotation_by_somebody_else_takes_nothing_from_the_proof(folder):
    with Journal.reopen(folder, clock=SimClock(), signer=OTHER) as journal:
        journal.append("annotation", {"who": "anna", "note": "a fine night"})
    result = verify(folder, public_key=SIGNER.public_key)
    assert result.ok, result.summary
    assert result.signed_by == (SIGNER.public_key, OTHER.public_key)
    assert not verify(folder, public_key="0" * 64).ok


def test_head_is_checked_by_the_lines_in_the_documentation(folder):
    lines = PAGE.read_text(encoding="utf-8").split("```python\n")[2].split("```")[0]
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        seq, head, key, signature = connection.execute("SELECT * FROM signatures ORDER BY seq DESC").fetchone()
    names = {"seq": seq, "hash": head, "public_key": key, "signature": signature}
    exec(lines, dict(names))
    with pytest.raises(Exception, match=r"^$"):  # InvalidSignature has no text
        exec(lines, names | {"seq": seq + 1})


@pytest.mark.skipif(not all(map(shutil.which, ("openssl", "sqlite3", "xxd"))), reason="needs openssl, sqlite3 and xxd")
def test_head_is_checked_by_openssl_as_documented(folder, tmp_path):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = SIGNER._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "identity.pub").write_bytes(pem)
    script = PAGE.read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0].replace("RUN/", f"{folder}/")
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr
