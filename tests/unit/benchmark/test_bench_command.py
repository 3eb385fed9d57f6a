"""``autoscope bench`` as a person types it."""

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from autoscope.cli.app import app
from tests.unit.benchmark.worlds import plain


@pytest.fixture
def bench(tmp_path):
    """Return a function that runs the command on the small benchmark."""
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump(plain(tmp_path), sort_keys=False))

    def run(*options):
        return CliRunner().invoke(app, ["bench", *options, str(path), "--runs", str(tmp_path)])

    return run


def test_a_benchmark_is_computed_once_and_more_seeds_are_added_to_it(bench, tmp_path):
    first = bench("run", "--workers", "0", "--quiet")
    assert (first.exit_code, "4 campaigns computed" in first.output) == (0, True)
    more = bench("run", "--workers", "0", "--seeds", "3", "--quiet")
    assert "2 campaigns computed, 4 kept from before" in more.output
    assert pq.read_table(tmp_path / "small" / "results.parquet").num_rows == 6


def test_a_campaign_that_cannot_begin_is_told_once_with_its_reason(bench):
    done = bench("run", "--workers", "0", "--quiet", "--set", "environments.hill.truth.source=target")
    assert done.exit_code == 1
    assert "there is no stored target" in done.output


def test_progress_names_what_was_finished_last(bench):
    assert "campaigns" in bench("run", "--workers", "0", "--seeds", "1").output
