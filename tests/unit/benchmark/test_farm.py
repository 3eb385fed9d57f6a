"""Cells on their way to a worker and back."""

from dataclasses import replace

import pytest

from autoscope.benchmark.farm import compute_cell
from autoscope.errors import PluginError
from tests.unit.benchmark.worlds import grid


@pytest.fixture
def cell(tmp_path):
    return next(iter(grid(tmp_path).cells([0])))


def test_a_worker_of_the_same_code_computes_the_cell_under_the_key_it_was_asked_for(cell):
    assert compute_cell(cell.text(), elsewhere=True).key == cell.key


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"code_sha256": "0" * 64}, "code_sha256"),
        ({"libraries": {"numpy": "1.0"}}, "libraries numpy: 1.0 then"),
    ],
    ids=["code", "library"],
)
def test_a_worker_of_other_code_or_libraries_refuses_and_says_which(cell, changed, told):
    other = replace(cell, made_by={**cell.made_by, **changed})
    with pytest.raises(PluginError, match=told):
        compute_cell(other.text(), elsewhere=True)
