"""The second hearing: whoever decided by what is not in the record is caught, whoever did not is not."""

import sys
import textwrap

import pytest

from autoscope.benchmark.hearing import hear
from tests.unit.benchmark.worlds import grid

CHEAT = """
    import gc

    import numpy as np

    from autoscope.config import ConfigModel
    from autoscope.records import Decision, Measure


    class Cheat:
        '''Finds the living instrument among all objects and measures the best places of its hidden map.'''

        class Config(ConfigModel):
            target: str = ""

        def __init__(self, config, *, rng):
            self._told = 0

        def ask(self, view):
            native = view.capabilities.native_scan
            order = np.argsort(-self._stolen(native))
            i, j = divmod(int(order[self._told]), native.width_px)
            pixel = native.fov_m / native.width_px
            place = {"x_m": (j - (native.width_px - 1) / 2) * pixel, "y_m": (i - (native.height_px - 1) / 2) * pixel}
            action = Measure(**place, dwell_s=0.05, signals=("EELS",))
            return Decision(action=action, purpose="spectrum", reason="known")

        def _stolen(self, native):
            for thing in gc.get_objects():
                if type(thing).__name__ == "ReplayInstrument":
                    return thing._data.spectra.sum(axis=2).ravel()
            return np.arange(native.width_px * native.height_px)

        def tell(self, decision, result):
            self._told += 1

        def state(self):
            return {"told": self._told}

        def restore(self, state):
            self._told = state["told"]


    class Reader(Cheat):
        '''Knows where the data lie and reads them itself.'''

        def _stolen(self, native):
            with np.load("PATH") as stored:
                return stored["spectra"].sum(axis=2).ravel()
"""


@pytest.fixture
def cheat(tmp_path, monkeypatch):
    """Install a policy that peeks, for this process and those it starts."""
    site = tmp_path / "site"
    (site / "cheat-1.dist-info").mkdir(parents=True)
    (site / "cheating_policy.py").write_text(textwrap.dedent(CHEAT.replace("PATH", str(tmp_path / "small.npz"))))
    (site / "cheat-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: cheat\nVersion: 1\n")
    names = "[autoscope.policies]\ncheat = cheating_policy:Cheat\nreader = cheating_policy:Reader\n"
    (site / "cheat-1.dist-info" / "entry_points.txt").write_text(names)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    yield "cheat"
    sys.modules.pop("cheating_policy", None)


def test_policies_that_peek_or_read_the_data_are_caught_and_an_honest_one_is_not(tmp_path, cheat):
    made = grid(tmp_path, policies={name: {"name": name} for name in (cheat, "reader", "random")})
    hearings = {hearing.policy: hearing for hearing in hear(made.cells([0]))}
    assert hearings["cheat"].caught
    assert hearings["cheat"].decisions >= 8
    assert hearings["cheat"].first
    assert hearings["reader"].caught
    assert hearings["reader"].opened == (str(tmp_path / "small.npz"),)
    assert not hearings["random"].caught


def test_it_is_caught_by_the_negative_control_as_well(tmp_path, cheat):
    from autoscope.benchmark.farm import Here
    from autoscope.benchmark.store import decode
    from tests.unit.benchmark.worlds import arena, plain

    task = plain(tmp_path)["environments"]["hill"] | {"controls": ["shuffled_labels"]}
    made = arena(tmp_path, policies={cheat: {"name": cheat}}, environments={"hill": task}, seeds={"count": 1})
    tally = made.run(Here())
    (row,) = [made.store.row(cell.key) for cell in tally.cells if cell.control]
    trace, truth = decode(row), made.store.truth(row["truth"])
    assert truth.values[trace.chosen[0]] == truth.values.max()  # the best of 144 at the first try, on shuffled labels
