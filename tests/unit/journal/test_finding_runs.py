import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from autoscope.clock import SimClock
from autoscope.errors import ConfigError
from autoscope.journal import Journal
from autoscope.journal.annotating import annotate
from autoscope.journal.finding import Wanted, choose
from autoscope.journal.index import INDEX, runs
from autoscope.testing.disk import CarelessDisk

AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))


def write(
    folder, day, *, sample="Pt/C", operator="anna", status="completed", policy="survey", target="pt_m", ended=True
):
    clock = SimClock(f"2026-03-{day:02d}T20:00:00+00:00")
    config = {
        "policy": {"name": policy}, "environment": {"name": "simulated"}, "notes": "cold stage",
        "scalarizers": {target: {"name": "band_integral", "options": {"signal": "EDS"}}},
    }  # fmt: skip
    header = {"name": f"night {day}", "sample": sample, "operator": operator, "config": config}
    journal = Journal.create(folder, clock=clock, disk=CarelessDisk())
    journal.append("run_started", header | {"capabilities": {"instrument": "simulated STEM"}})
    clock.wait(60.0 * day)
    if ended:
        body = {
            "status": status,
            "reason": "the budget is spent",
            "steps": day,
            "time_s": 60.0 * day,
            "dose_e": 1e9 * day,
        }
        journal.append("run_ended", body)
    journal.close()
    return folder


@pytest.fixture
def lab(tmp_path):
    write(tmp_path / "a", 1)
    write(tmp_path / "b", 2, sample="Fe3O4 [110]", operator="bela", target="fe", policy="gp")
    write(tmp_path / "c", 3, status="failed")
    write(tmp_path / "d", 4, ended=False)
    (tmp_path / "notes").mkdir()
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "journal.sqlite").write_bytes(b"garbage, certainly not a database" * 100)
    return tmp_path


def names(lab, **wanted):
    return [run.folder for run in choose(runs(lab), Wanted(**wanted))]


def test_every_run_is_listed_newest_first_and_one_that_cannot_be_read_as_such(lab):
    found = {run.folder: run for run in runs(lab)}
    assert {name: run.status for name, run in found.items()} == {
        "a": "completed", "b": "completed", "c": "failed", "d": "interrupted", "e": "unreadable",
    }  # fmt: skip
    assert "SQLite cannot read it" in found["e"].problem
    assert names(lab) == ["d", "c", "b", "a", "e"]
    assert (found["b"].steps, found["b"].time_s, found["b"].dose_e, found["b"].policy) == (2, 120.0, 2e9, "gp")
    assert found["a"].notes == ("cold stage",)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"sample": "pt"}, ["d", "c", "a"]),
        ({"sample": "[110]"}, ["b"]),
        ({"operator": "BELA"}, ["b"]),
        ({"instrument": "stem"}, ["d", "c", "b", "a"]),
        ({"policy": "gp"}, ["b"]),
        ({"status": "failed"}, ["c"]),
        ({"element": "Fe"}, ["b"]),
        ({"element": "Pt"}, ["d", "c", "a"]),
        ({"element": "p"}, []),
        ({"since": "2026-03-02", "until": "2026-03-03"}, ["c", "b"]),
        ({"until": "2026-03-01"}, ["a"]),
        ({"since": "2026-03-03T20:00:01"}, ["d"]),
        ({"text": "budget COLD night"}, ["c", "b", "a"]),
        ({"text": "garbage"}, []),
        ({"sample": "pt", "status": "completed"}, ["a"]),
    ],
)
def test_every_filter_given_must_hold(lab, wanted, expected):
    assert names(lab, **wanted) == expected


def test_no_date_and_no_order_are_said_so(lab):
    with pytest.raises(ConfigError, match=r"--since: is no date.*2026-03-01"):
        names(lab, since="yesterday")
    with pytest.raises(ConfigError, match="cannot be sorted"):
        choose(runs(lab), Wanted(), sort="colour")


def test_order_is_by_what_was_asked(lab):
    by_steps = [run.folder for run in choose(runs(lab), Wanted(), sort="steps")]
    assert by_steps == ["c", "b", "a", "e", "d"]
    assert [run.folder for run in choose(runs(lab), Wanted(), sort="steps", newest_last=True)] == by_steps[::-1]


def read_again(lab, **options):
    seen = []
    found = runs(lab, progress=lambda path: seen.append(path.name), **options)
    return seen, found


def test_index_reads_only_what_changed(lab):
    assert read_again(lab)[0] == ["a", "b", "c", "d", "e"]
    assert read_again(lab)[0] == []
    annotate(lab / "b", who="anna", corrections={"sample": "Fe2O3"})
    write(lab / "f", 6)
    shutil.rmtree(lab / "a")
    seen, found = read_again(lab)
    assert seen == ["b", "f"]
    assert [run.folder for run in found] == ["b", "c", "d", "e", "f"]
    assert (found[0].sample, found[0].original) == ("Fe2O3", {"sample": "Fe3O4 [110]"})
    assert found[0].status == "completed"


@pytest.mark.parametrize("damage", ["deleted", "garbage", "cut", "altered", "rebuild"])
def test_index_is_only_a_cache(lab, damage):
    expected, path = runs(lab), lab / INDEX
    match damage:
        case "deleted":
            path.unlink()
        case "garbage":
            path.write_bytes(b"\xff" * 5000)
        case "cut":
            path.write_bytes(path.read_bytes()[:5000])
        case "altered":
            with sqlite3.connect(path) as connection:
                connection.execute("UPDATE runs SET summary = 'nonsense'")
            connection.close()
    seen, found = read_again(lab, rebuild=damage == "rebuild")
    assert (seen, found) == (["a", "b", "c", "d", "e"], expected)
    assert read_again(lab)[0] == []


def test_folder_that_takes_no_index_is_listed_all_the_same(lab):
    (lab / INDEX).mkdir()
    assert len(runs(lab)) == 5
    assert len(runs(lab)) == 5


def test_run_that_goes_on_is_shown_as_running(lab):
    with Journal.reopen(lab / "d", clock=SimClock()):
        assert names(lab, status="running") == ["d"]
    assert names(lab, status="running") == []


def call(*arguments):
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(
        [AUTOSCOPE, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
    )


def test_command_lists_filters_and_annotates(lab):
    table = call("runs", lab, "--operator", "anna").stdout
    assert "3 runs in" in table
    assert "interrupted" in table
    done = call("runs", "annotate", lab / "a", "--sample", "Au/C", "--note", "label misread", "--who", "anna")
    assert done.stdout.endswith("record 3 appended\n"), done.stderr
    (line,) = call("runs", lab, "--sample", "au/c", "--json").stdout.splitlines()
    shown = json.loads(line)
    assert (shown["folder"], shown["sample"], shown["original"]) == ("a", "Au/C", {"sample": "Pt/C"})
    assert call("verify", lab / "d").returncode == 0


def test_command_explains_itself_and_refuses_what_is_no_folder(tmp_path):
    assert "newest first" in call("runs", "list", "--help").stdout
    missing = call("runs", tmp_path / "absent")
    assert missing.returncode == 2
    assert "no such folder" in missing.stderr
