"""A run with everything in it, written once for the tests that only read it."""

import pytest

from tests.unit.exports.lab import full_run


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    return full_run(tmp_path_factory.mktemp("exports") / "full")
