import importlib.util

import pytest

from autoscope.clock import SystemClock
from autoscope.quantities import FROM_FILE
from autoscope.records import Act
from environments.instruments.nion import NionInstrument

INSTALLED = importlib.util.find_spec("nion") is not None and importlib.util.find_spec("nion.usim_device") is not None


def column(**options):
    """Return a fresh driver on the simulated column."""
    if not INSTALLED:
        pytest.skip("nionswift-usim is not installed (pip install 'autoscope[nion]')")
    config = NionInstrument.Config.model_validate(options, context=FROM_FILE)
    return NionInstrument(config, clock=SystemClock())


@pytest.fixture
def nion():
    made = column(connection={"kind": "usim", "physics": True})
    yield made
    made.make_safe()


@pytest.fixture
def do():
    count = iter(range(10_000))

    def execute(instrument, action):
        return instrument.execute(Act(act_id=f"t-{next(count)}", action=action))

    return execute
