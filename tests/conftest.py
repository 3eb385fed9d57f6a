"""What holds for every test."""

import pytest

collect_ignore = ["crate_validation.py"]
"""Started in an environment of its own."""


@pytest.fixture(autouse=True, scope="session")
def home_of_its_own(tmp_path_factory):
    """Keep the key that tests sign with away from the one of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOSCOPE_HOME", str(tmp_path_factory.mktemp("home")))
        yield
