"""Runs resumed from a checkpoint, compared with the run that nobody disturbed, record for record."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from autoscope.cli import resuming
from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.engine import checkpoints
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import replay
from autoscope.journal import Journal, JournalReader, MemoryJournal
from autoscope.testing.disk import CarelessDisk
from tests.fault.killing import history
from tests.tampering import tamper

EVERY = 4
CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SILVER = {"kind": "nanoparticles", "extent": ["300 nm", "300 nm"], "count": 4}
OVERVIEW = {"fov": "200 nm", "width_px": 24, "height_px": 24}
FIELD = {"target": "t", "overview": OVERVIEW, "signals": ["EELS"], "dwell": "10 ms"}
MODEL = FIELD | {"initial": 3, "refit_every": 2}
BANDS = {"t": {"name": "band_integral", "options": {"band": ["1.6 eV", "2.2 eV"]}}}
POLICIES = {
    "random": ("random", FIELD),
    "gp": ("gp", MODEL),
    "deep_kernel": ("deep_kernel", MODEL),
    "spectra": ("spectra", MODEL | {"signal": "EELS"}),
}


def text(policy, options, *, steps=14, every=EVERY, lookahead=0):
    return yaml.safe_dump(
        {
            "name": "small",
            "seed": 3,
            "environment": {"name": "simulated", "options": {"microscope": {"specimens": [SILVER]}}},
            "policy": {"name": policy, "options": options},
            "scalarizers": BANDS,
            "budget": {"steps": steps},
            "engine": {"checkpoint_every": every, "lookahead": lookahead},
        }
    )


def run(folder, config):
    resolved, clock = resolve(Document(config, "test")), SimClock()
    plain = yaml.safe_dump(resolved.plain(), sort_keys=False)
    journal = Journal.create(folder, clock=clock, config=plain, disk=CarelessDisk())
    Engine(assemble(resolved, clock), journal, run_id="run").run()
    return folder


def cut(folder, to, outcomes):
    """Copy a run as it was when so many outcomes were known, and one intent more."""
    shutil.copytree(folder, to)
    known = [record.seq for record in JournalReader.open(to).records("outcome")]
    intents = [record.seq for record in JournalReader.open(to).records("intent")]
    last = min(seq for seq in intents if seq > known[outcomes - 1])
    tamper(to, "DELETE FROM records WHERE seq > ?", last)
    tamper(to, "DELETE FROM frames WHERE CAST(substr(name, 1, 6) AS INTEGER) >= ?", outcomes)
    return to


def resumed(folder, **options):
    resuming.resume_run(folder, [], quiet=True, with_report=False, **options)
    return next(JournalReader.open(folder).records("run_resumed")).body


@pytest.fixture
def careless(monkeypatch):
    monkeypatch.setattr("autoscope.journal.writer.LocalDisk", CarelessDisk)
    monkeypatch.setattr(resuming, "load_or_make", lambda: None)


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize(
    ("policy", "lookahead"), [("random", 0), ("random", 1), ("gp", 0), ("gp", 1), ("deep_kernel", 1), ("spectra", 1)]
)
def test_a_run_resumed_from_a_checkpoint_is_the_undisturbed_run_to_the_bit(tmp_path, policy, lookahead):
    name, options = POLICIES[policy]
    whole = run(tmp_path / "whole", text(name, options, lookahead=lookahead))
    again = cut(whole, tmp_path / "again", 10)
    found = resumed(again)
    assert found["checkpoint"] == 8
    assert history(again) == history(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize("name", ["align", "focus", "pareto", "beam_sensitive", "raster_survey", "overnight_survey"])
def test_every_policy_resumes_from_its_checkpoint_to_the_bit(tmp_path, name):
    document = Document.read(CONFIGS / f"{name}.yaml")
    for setting in ("budget.steps=31", "engine.checkpoint_every=8"):
        document.override(setting)
    whole = run(tmp_path / "whole", yaml.safe_dump({k: v for k, v in document.data.items() if k != "exports"}))
    acts = sum(1 for _ in JournalReader.open(whole).records("outcome"))
    again = cut(whole, tmp_path / "again", min(27, acts - 2))
    assert resumed(again)["checkpoint"] > 0
    assert history(again) == history(whole)


@pytest.mark.usefixtures("careless")
def test_told_everything_again_it_is_the_same_run(tmp_path):
    whole = run(tmp_path / "whole", text("gp", MODEL))
    again = cut(whole, tmp_path / "again", 10)
    assert resumed(again, from_beginning=True)["checkpoint"] == 0
    assert history(again) == history(whole)


def test_a_replay_comes_to_the_same_state_at_every_checkpoint(tmp_path):
    folder = run(tmp_path / "run", text("gp", MODEL))
    reader = JournalReader.open(folder)
    past = read_history(reader)
    job = assemble(resolve(Document(text("gp", MODEL), "test")), SimClock())
    found = replay(past, job.policy, Stored(reader))
    assert found.ok
    assert (found.same_state, found.checkpoints) == (3, 3)


def test_a_run_in_memory_is_the_run_on_the_disk(tmp_path):
    config = text("gp", MODEL)
    clock = SimClock()
    memory = MemoryJournal(clock=clock)
    Engine(assemble(resolve(Document(config, "test")), clock), memory, run_id="run").run()
    decisions = [step.decision for step in memory.steps()]
    assert decisions == [step.decision for step in JournalReader.open(run(tmp_path / "run", config)).steps()]


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize("harm", ["gone", "altered"])
def test_without_its_newest_checkpoint_a_run_is_resumed_from_the_one_before(tmp_path, harm):
    whole = run(tmp_path / "whole", text("random", FIELD))
    again = cut(whole, tmp_path / "again", 13)
    newest = again / "checkpoints" / "0000012.json.z"
    newest.unlink() if harm == "gone" else newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    assert resumed(again)["checkpoint"] == 8
    assert history(again) == history(whole)


@pytest.mark.usefixtures("careless")
def test_a_checkpoint_of_other_versions_is_not_used(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", text("random", FIELD))
    again = cut(whole, tmp_path / "again", 10)
    monkeypatch.setattr(checkpoints, "provenance", lambda plugins: {"python": "4.0"})
    assert resumed(again)["checkpoint"] == 0
    assert history(again) == history(whole)


@pytest.mark.usefixtures("careless")
def test_a_checkpoint_that_leads_elsewhere_is_left_for_the_whole_record(tmp_path, monkeypatch, capsys):
    whole = run(tmp_path / "whole", text("random", FIELD))
    again = cut(whole, tmp_path / "again", 10)
    read = checkpoints._read

    def other(note, data):
        found = read(note, data)
        found.policy["root"] += 1
        return found

    monkeypatch.setattr(checkpoints, "_read", other)
    assert resumed(again)["checkpoint"] == 0
    assert "leads elsewhere" in capsys.readouterr().out
    assert history(again) == history(whole)


def test_only_the_newest_two_checkpoints_are_kept(tmp_path):
    folder = run(tmp_path / "run", text("random", FIELD))
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["0000008.json.z", "0000012.json.z"]
    noted = [r.body for r in JournalReader.open(folder).records("note")]
    assert [note["told"] for note in noted] == [4, 8, 12]
    assert JournalReader.open(folder).load_checkpoint(noted[-1]) is not None
    assert JournalReader.open(folder).load_checkpoint(noted[0]) is None


def test_where_there_is_no_room_to_spare_the_run_goes_on_without(tmp_path, monkeypatch):
    monkeypatch.setattr(CarelessDisk, "free_bytes", lambda self, folder: 1 << 20)
    folder = run(tmp_path / "run", text("random", FIELD))
    assert JournalReader.open(folder).ended()["status"] == "completed"
    assert not any("file" in record.body for record in JournalReader.open(folder).records("note"))


def test_a_policy_that_does_not_offer_it_has_none(tmp_path):
    class Plain:
        def state(self):
            raise AssertionError("nobody may ask for it")

    assert not checkpoints.is_due(Plain(), EVERY, EVERY)


def test_states_hold_nothing_but_plain_data(tmp_path):
    folder = run(tmp_path / "run", text("gp", MODEL))
    past = read_history(JournalReader.open(folder))
    job = assemble(resolve(Document(text("gp", MODEL), "test")), SimClock())
    found = checkpoints.latest(job, past.checkpoints, len(past.told), JournalReader.open(folder))
    assert found.evidence.told == 12
    assert json.loads(json.dumps(found.policy)) == found.policy
    assert set(found.environment) >= {"stage", "drift", "noise", "beam", "carousel"}
