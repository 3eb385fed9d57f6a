"""A person steers a run through its folder, from another thread, and a benchmark judges the record with policies."""

import io
import threading

import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from autoscope.benchmark.grid import derived_seed
from autoscope.chance import stream
from autoscope.cli.app import app
from autoscope.cli.running import run_into
from autoscope.clock import SystemClock
from autoscope.config import Document
from autoscope.engine.assemble import resolve
from autoscope.engine.history import read_history
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import replay
from autoscope.engine.steering import QueueInbox
from autoscope.errors import AutoscopeError
from autoscope.identity import load_or_make
from autoscope.journal import JournalReader
from autoscope.steering.commands import Approve, Disc, SendTo
from autoscope.steering.helm import helm_of
from autoscope.steering.now import how_it_stands
from tests.unit.benchmark.worlds import plain, small_map

PLACES = [(7e-9, -7e-9), (5e-9, -5e-9), (-3e-9, 3e-9)]
SEED = derived_seed(0, "hill", 0)


class Person(threading.Thread):
    """Answers each suggestion that it sees in the journal: three places of its own, then the advisor's."""

    def __init__(self, folder, identity):
        super().__init__(daemon=True)
        self.folder, self.identity, self.receipts, self.seen, self.over = folder, identity, [], [], threading.Event()

    def run(self):
        answered, places, clock, helm = -1, list(PLACES), SystemClock(), None
        while not self.over.is_set():
            clock.wait(0.02)
            try:
                notes = [
                    r for r in JournalReader.open(self.folder).records("note") if r.body.get("event") == "awaiting"
                ]
                if not notes or notes[-1].seq == answered:
                    continue
                helm = helm or helm_of(self.folder, who="anna", identity=self.identity, patience_s=20.0)
                self.seen.append(how_it_stands(self.folder))
                answered, note = notes[-1].seq, notes[-1].body
                if places:
                    x_m, y_m = places.pop(0)
                    command = SendTo(place=Disc(x_m=x_m, y_m=y_m))
                else:
                    command = Approve(act_id=note["act_id"])
                self.receipts.append(helm.post(command, why="it looks odd"))
            except AutoscopeError:
                continue  # the run begins, or is over


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Return the folder of a run in which a person chose."""
    monkeypatch.setenv("AUTOSCOPE_HOME", str(tmp_path / "home"))
    task = plain(tmp_path)["environments"]["hill"]
    policy = {"target": "signal", "dwell": "50 ms", "points": 8, "wait": "60 s"}
    policy["advisor"] = {"name": "random"}
    config = {"name": "anna", "seed": SEED, "environment": task["environment"], "scalarizers": task["scalarizers"]}
    document = yaml.safe_dump(config | {"policy": {"name": "human", "options": policy}})
    folder, resolved = tmp_path / "anna", resolve(Document(document, "anna.yaml"))
    person = Person(folder, load_or_make(tmp_path / "key"))
    person.start()
    console = Console(file=io.StringIO(), width=200)
    end = run_into(folder, resolved, QueueInbox(), console, quiet=False)
    person.over.set()
    person.join(30)
    assert end.status.value == "completed", end.reason
    assert console.file.getvalue().count("waits for a person") == 8
    return folder, resolved, person


def test_a_person_steers_through_the_folder_and_a_benchmark_judges_the_record(record, tmp_path):
    folder, resolved, person = record
    assert [r.status for r in person.receipts] == ["accepted"] * 8
    assert person.seen[0].state == "waits for approval"
    assert "a suggestion waits for your choice" in person.seen[0].reason
    reader = JournalReader.open(folder)
    decisions = [r.body["decision"] for r in reader.records("intent")]
    chosen = [d for d in decisions if d["action"]["kind"] == "measure"]
    for (x_m, y_m), decision in zip(PLACES, chosen):
        assert decision["action"]["x_m"] == pytest.approx(x_m, abs=1.01e-9)
        assert decision["action"]["y_m"] == pytest.approx(y_m, abs=1.01e-9)
    assert all(d["reason"].startswith("Chosen by anna") for d in chosen)
    policy = resolved.policy.plugin(resolved.policy.options, rng=stream(SEED, "policy"))
    assert replay(read_history(reader), policy, Stored(reader)).ok

    done = bench(tmp_path, "run", {"anna": {"name": "recorded", "options": {"runs": [str(folder)]}}})
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "small" / "results.parquet").to_pylist()
    mine = [row for row in rows if row["policy"] == "anna"]
    assert len(mine) == 1  # a record is one campaign, however many seeds the others have
    assert len([row for row in rows if row["policy"] == "random"]) == 2
    values = [o["values"][0]["value"] for o in (r.body for r in reader.records("outcome")) if o["values"]]
    assert mine[0]["value"] == values  # the same environment, the same chance
    board = (tmp_path / "small" / "leaderboard.md").read_text()
    assert "anna: choices recorded in 1 run and played again. So few campaigns say little of the next" in board
    assert "choices recorded in 1 run" in (tmp_path / "small" / "leaderboard.html").read_text()


def test_a_record_of_another_specimen_is_no_campaign_unless_it_is_said_to_be(record, tmp_path):
    folder, _, _ = record
    with_noise = small_map(tmp_path / "home", noise=True)
    environment = {"name": "replay", "options": {"data": {"path": str(with_noise), "dwell": "50 ms"}}}
    other = plain(tmp_path)["environments"]["hill"] | {"environment": environment}
    made = {}
    for elsewhere in (False, True):
        options = {"runs": [str(folder)], "elsewhere": elsewhere}
        changed = {"environments": {"hill": _shifted(other, tmp_path)}}
        bench(tmp_path, "run", {"anna": {"name": "recorded", "options": options}}, **changed)
        rows = pq.read_table(tmp_path / "small" / "results.parquet").to_pylist()
        made[elsewhere] = next(row for row in rows if row["policy"] == "anna")
    assert made[False]["status"] == "failed"
    assert "the overview is not that of the record" in made[False]["notes"]
    assert made[True]["status"] == "completed"


def test_the_seeds_of_a_benchmark_can_be_asked_for(tmp_path):
    done = bench(tmp_path, "seeds", {})
    assert done.output.splitlines()[0] == f"hill\t0\t{SEED}"


def test_what_is_no_record_is_told_before_anything_is_computed(tmp_path):
    done = bench(tmp_path, "run", {"anna": {"name": "recorded", "options": {"runs": [str(tmp_path / "none")]}}})
    assert done.exit_code != 0
    assert "cannot be played" in str(done.exception or done.output)


def _shifted(task, folder):
    import numpy as np

    source = dict(np.load(folder / "home" / "small.npz"))
    source["image"] = source["image"][::-1].copy()
    np.savez(folder / "home" / "small.npz", **source)
    return task


def bench(folder, command, policies, **changed):
    path = folder / "bench.yaml"
    config = plain(folder, policies={"random": {"name": "random"}} | policies, **changed)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    options = ["--workers", "0", "--quiet", "--runs", str(folder)] if command == "run" else []
    return CliRunner().invoke(app, ["bench", command, str(path), *options])
