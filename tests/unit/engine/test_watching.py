"""Those who watch a run learn how far an acquisition is; those who only want steps are not bothered."""

import pytest

from autoscope.clock import SimClock
from autoscope.delivery import deliver
from autoscope.engine.events import Silence
from autoscope.engine.snapshots import MapsForWatchers
from autoscope.engine.watching import Acquiring, watch
from autoscope.records import Act, SpectrumImage
from environments.base import InstrumentEnvironment
from environments.instruments.simulated import SimulatedInstrument
from environments.task import TaskConfig

CUBE = SpectrumImage(fov_m=8e-8, width_px=8, height_px=6, dwell_s=1e-3, signals=("EDS",))


class Watcher(Silence):
    def __init__(self):
        self.seen = []

    def on_acquiring(self, now):
        self.seen.append(now)


@pytest.fixture
def environment():
    made = InstrumentEnvironment(
        lambda clock, rng: SimulatedInstrument(SimulatedInstrument.Config(), clock=clock, rng=rng),
        TaskConfig(),
        clock=SimClock(),
        seed=1,
    )
    made.reset(options={"bare": True})
    yield made
    made.close()


def test_a_watcher_learns_how_far_an_acquisition_is(environment):
    watch(environment, watcher := Watcher())
    *_, info = environment.step(Act(act_id="cube", action=CUBE))
    assert watcher.seen[0] == Acquiring("EDS", 0, 48)
    assert watcher.seen[-1] == Acquiring("EDS", 48, 48)
    assert len(info["observation"].frames) == 2


@pytest.mark.parametrize("listener", [Silence(), Watcher()], ids=["steps only", "watcher"])
def test_a_listener_that_stands_between_passes_on_how_far_it_is(environment, listener, tmp_path):
    watch(environment, MapsForWatchers(listener, policy=None, folder=tmp_path))
    environment.step(Act(act_id="cube", action=CUBE))
    if isinstance(listener, Watcher):
        assert listener.seen[-1] == Acquiring("EDS", 48, 48)


def test_a_listener_to_steps_alone_and_an_instrument_that_tells_nothing_do_as_before(environment):
    watch(environment, Silence())
    environment.step(Act(act_id="cube", action=CUBE))
    quiet = _Quiet()
    assert deliver(quiet, "an act", Watcher()) == "an act"


class _Quiet:
    def execute(self, act):
        return act
