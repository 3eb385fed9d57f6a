"""The model's maps: drawn only for watchers, never felt by the run, and the same when made again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoscope.config import Document
from autoscope.dashboard.maps import FolderMaps
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.events import Silence
from autoscope.engine.loop import Engine
from autoscope.engine.remapping import maps_before
from autoscope.engine.snapshots import LEASE_S, LIVE, MAPS, WATCHED, MapsForWatchers, is_watched, watch
from autoscope.errors import DataError
from autoscope.journal import Journal, JournalReader
from autoscope.model_maps import ModelMaps
from tests.unit.dashboard.lab import QuickDisk
from tests.unit.dashboard.test_dashboard_model import followed

ROOT = Path(__file__).resolve().parents[3]


class Ticking(Silence):
    """Lets two seconds pass at every step."""

    now_s = 0.0

    def on_step(self, event):
        """Tick."""
        self.now_s += 2.0


def run(folder: Path, *, wanted: bool) -> list[str]:
    """Run a small experiment with a model; return the hashes of its records."""
    document = Document.read(ROOT / "configs" / "nanoparticles.yaml")
    for assignment in ("policy.options.points=9", "policy.options.overview.width_px=24",
                       "policy.options.overview.height_px=24"):  # fmt: skip
        document.override(assignment)
    job = assemble(resolve(document))
    journal = Journal.create(folder, clock=job.clock, disk=QuickDisk())
    ticking = Ticking()
    listener = MapsForWatchers(ticking, job.policy, folder, lambda: ticking.now_s)
    if wanted:
        watch(folder)
    Engine(job, journal, run_id="one", listener=listener, stopwatch=lambda: 0.0).run()
    return [record.hash for record in JournalReader.open(folder).records()]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Return the folder of a run that was watched, and the hashes of its records."""
    folder = tmp_path_factory.mktemp("maps") / "watched"
    return folder, run(folder, wanted=True)


def test_a_watched_run_is_the_same_to_the_bit_as_one_nobody_watches(watched, tmp_path):
    assert run(tmp_path / "alone", wanted=False) == watched[1]
    assert (watched[0] / LIVE / MAPS).is_file()
    assert not (tmp_path / "alone" / LIVE).exists()


def test_maps_made_again_from_the_record_are_those_the_run_drew(watched):
    drawn = ModelMaps.read(watched[0] / LIVE / MAPS)
    again = maps_before(watched[0], drawn.step)
    assert (again.step, again.target, again.unit) == (drawn.step, "plasmon", "counts")
    assert set(again.layers) == {"mean", "std", "acquisition"}
    for name in ("mean", "std", "acquisition"):
        np.testing.assert_allclose(again.layers[name], drawn.layers[name], rtol=1e-5)
    decision = next(s.decision for s in JournalReader.open(watched[0]).steps() if s.index == drawn.step)
    best = np.nanargmax(drawn.layers["acquisition"])
    assert (drawn.x_m[best], drawn.y_m[best]) == pytest.approx((decision.action.x_m, decision.action.y_m), rel=1e-5)


def test_the_dashboard_has_them_made_in_a_process_of_its_own(watched):
    maps, model = FolderMaps(watched[0]), followed(watched[0]).model()
    try:
        assert maps.latest(8, model) is None
        assert "asking the policy again" in maps.why_none()
        maps._rebuilding[1].wait(60)
        found = maps.latest(8, model)
        assert found.step == 8
        assert maps.latest(8, model) is found
        maps.latest(2, model)
        maps._rebuilding[1].wait(60)
        assert maps.latest(2, model).layers.keys() == {"acquisition"}  # a starting point: unlikeness alone
    finally:
        maps.close()


def test_why_there_are_no_maps_is_said(watched, tmp_path):
    with pytest.raises(DataError, match="not asked for an act so late"):
        maps_before(watched[0], 99)
    with pytest.raises(DataError, match="no model yet"):
        maps_before(watched[0], 0)
    done = subprocess.run(
        [sys.executable, "-m", "autoscope.engine.remapping", str(tmp_path), "3", "x"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no journal here" in done.stderr
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(DataError, match="holds no maps"):
        ModelMaps.read(tmp_path / "broken.npz")


class Painter:
    """A policy whose maps cannot be drawn."""

    def maps(self):
        """Fail."""
        raise RuntimeError("no paint")


def test_maps_that_fail_and_folders_that_take_none_do_not_reach_the_run(tmp_path):
    watch(tmp_path)
    listener = MapsForWatchers(Silence(), Painter(), tmp_path, lambda: 1.0)
    listener.on_step(None)
    assert listener.problem == "RuntimeError: no paint"
    watch(tmp_path / "nowhere" / "at all")
    assert not is_watched(tmp_path / "nowhere")


def test_a_watcher_who_went_away_is_forgotten(tmp_path):
    watch(tmp_path)
    assert is_watched(tmp_path / LIVE)
    before = (tmp_path / LIVE / WATCHED).stat().st_mtime - LEASE_S - 1
    os.utime(tmp_path / LIVE / WATCHED, (before, before))
    assert not is_watched(tmp_path / LIVE)


def test_maps_are_drawn_at_most_once_a_second(tmp_path):
    drawn = []

    class Counting:
        def maps(self):
            drawn.append(now[0])
            return

    watch(tmp_path)
    now = [0.0]
    listener = MapsForWatchers(Silence(), Counting(), tmp_path, lambda: now[0])
    for k in range(50):
        now[0] = 0.1 * k
        listener.on_step(None)
    assert len(drawn) == 5
