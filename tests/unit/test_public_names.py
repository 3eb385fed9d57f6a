import subprocess
import sys

import pytest

import autoscope


def test_every_public_name_is_there_and_an_unknown_one_is_not():
    for name in autoscope.__all__:
        assert getattr(autoscope, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autoscope.nothing


def test_importing_autoscope_imports_nothing_heavy():
    probe = "import autoscope, sys; print({'torch', 'numpy', 'pydantic', 'zmq', 'textual'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"
