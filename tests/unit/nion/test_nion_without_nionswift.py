"""What holds of the Nion driver whether or not nionswift is installed."""

import math
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.clock import SystemClock
from autoscope.errors import PluginError
from autoscope.quantities import FROM_FILE
from environments.instruments.nion import NionConfig, NionInstrument
from environments.instruments.nion.config import StageConfig
from environments.instruments.nion.controller import stage_matrix


def test_importing_the_driver_imports_nothing_of_nionswift():
    probe = "import environments.instruments.nion, sys; print([m for m in sys.modules if m.split('.')[0] == 'nion'])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_without_nionswift_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "nion.instrumentation.HardwareSource", None)
    monkeypatch.setitem(sys.modules, "nion.instrumentation", None)
    with pytest.raises(PluginError, match=r"pip install 'autoscope\[nion\]'"):
        NionInstrument(NionInstrument.Config(), clock=SystemClock())


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("rotation_rad", [0.0, 0.3, -2.0])
def test_stage_axes_there_and_back_are_where_they_were(flip_x, flip_y, rotation_rad):
    matrix = stage_matrix(StageConfig(flip_x=flip_x, flip_y=flip_y, rotation_rad=rotation_rad))
    place = np.array([3e-6, -7e-6])
    np.testing.assert_allclose(matrix.T @ (matrix @ place), place, atol=1e-18)
    assert math.isclose(abs(np.linalg.det(matrix)), 1.0)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"scan": {"fov_range": ["1 um", "1 nm"]}}, "first bound must be below"),
        ({"cameras": [{"name": "EELS", "source": "a"}, {"name": "EELS", "source": "b"}]}, "given twice"),
        ({"optics": {"energy_offset": "700"}}, "no unit"),
        ({"connection": {"kind": "usim", "sample": "steel"}}, "flakes"),
        ({"connection": {"kind": "usim", "hidden_defocus": "100 nm"}}, "physics: true"),
        ({"connection": {"kind": "usim", "drift": ["1 nm/s", "0 nm/s"]}}, "physics: true"),
    ],
)
def test_a_wrong_configuration_is_told(options, what):
    with pytest.raises(ValidationError, match=what):
        NionConfig.model_validate(options, context=FROM_FILE)
