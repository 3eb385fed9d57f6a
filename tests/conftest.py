"""What holds for every test."""

import signal

import pytest

collect_ignore = ["crate_validation.py"]
"""Started in an environment of its own."""


@pytest.fixture(autouse=True, scope="session")
def home_of_its_own(tmp_path_factory):
    """Keep the key that tests sign with away from the one of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOSCOPE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True, scope="session")
def signals_as_in_a_terminal():
    """Have programs that tests start hear Ctrl-C and a lost line, also where tests run under nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
