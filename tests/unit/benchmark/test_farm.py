"""Cells on their way to a worker and back."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from autoscope.benchmark import farm
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


class _Dying:
    """A client whose workers all die of the first cell they get."""

    scheduler = None

    def __init__(self):
        self.asked, self.called_off, self._looks = [], [], 0

    def nthreads(self):
        self._looks += 1
        return {f"w{self._looks}": 1}

    def submit(self, call, text, *, key, workers, **options):
        self.asked.append((key, workers))
        return SimpleNamespace(key=key, add_done_callback=lambda told: None)

    def cancel(self, futures, force):
        self.called_off += [future.key for future in futures]


def test_a_cell_that_costs_one_worker_after_the_other_is_given_up_and_the_next_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(farm, "LOOK_AGAIN_S", 0.001)
    client, cells = _Dying(), list(grid(tmp_path).cells([0]))
    told = list(farm.Workers(client).compute(cells))
    assert sorted(one.key for one in told) == sorted(cell.key for cell in cells)
    assert all(f"{farm.LOST_WORKERS + 1} workers were lost" in one.error for one in told)
    assert len(client.asked) == len(cells) * (farm.LOST_WORKERS + 1)
    assert sorted(client.called_off) == sorted(key for key, _ in client.asked)
