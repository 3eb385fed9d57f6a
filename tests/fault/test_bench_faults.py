"""A benchmark under trouble: killed workers, Ctrl-C, kill -9 of everything; nothing is lost, nothing changes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from autoscope.benchmark import store as files
from autoscope.benchmark.farm import Here, opened
from autoscope.errors import ConfigError
from tests.smoke import free_ports
from tests.unit.benchmark.worlds import arena, plain

pytestmark = pytest.mark.timeout(400)
AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
GRID = {"seeds": {"count": 6}, "budgets": [{"measurements": 30}]}


def digest(folder):
    return files.digest(pq.read_table(folder / "results.parquet"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the digest of the grid computed in one process, and where its data lie."""
    folder = tmp_path_factory.mktemp("undisturbed")
    arena(folder, **GRID).run(Here())
    return digest(folder / "bench"), plain(folder)["environments"]


def workers():
    """Return the processes that Dask has started for us; one that was killed has no command line any more."""
    started = psutil.Process().children(recursive=True)
    return [p for p in started if "spawn_main" in " ".join(p.as_dict(["cmdline"], ad_value=())["cmdline"])]


class Killing:
    """Kills a worker process after each of the first cells."""

    def __init__(self, kills):
        self.killed, self._kills = 0, kills

    def planned(self, cells, kept):
        pass

    def finished(self, cell, error):
        alive = workers() if self.killed < self._kills else []
        if alive:  # those killed before may still be on their way back
            os.kill(alive[0].pid, signal.SIGKILL)
            self.killed += 1


@pytest.mark.slow
def test_killing_workers_loses_nothing_and_changes_nothing(tmp_path, undisturbed):
    expected, environments = undisturbed
    made = arena(tmp_path, environments=environments, **GRID)
    killing = Killing(2)
    with opened(made.grid.config.cluster, workers=2) as farm:
        tally = made.run(farm, progress=killing, arrange=lambda cells: cells[::-1])
    assert killing.killed == 2
    assert (tally.failures, len(tally.cells)) == ([], 12)
    assert digest(tmp_path / "bench") == expected


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_a_benchmark_cut_off_keeps_what_was_finished_and_goes_on(tmp_path, undisturbed, blow):
    expected, environments = undisturbed
    config = tmp_path / "bench.yaml"
    config.write_text(yaml.safe_dump(plain(tmp_path, environments=environments, **GRID), sort_keys=False))
    command = [AUTOSCOPE, "bench", str(config), "--workers", "1", "--quiet", "--runs", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    cells = tmp_path / "small" / "cells"
    pause = threading.Event()
    while process.poll() is None and len(list(cells.glob("*.parquet"))) < 2:  # the test's own time limit ends it
        pause.wait(0.01)
    os.killpg(process.pid, blow)  # as a terminal does: everybody gets it
    said, _ = process.communicate(timeout=200)
    kept = len(list(cells.glob("*.parquet")))
    assert kept >= 2
    if blow is signal.SIGINT:
        assert (process.returncode, "interrupted" in said, "Traceback" in said) == (130, True, False)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{12 - kept} campaigns computed" in done.stdout
    assert digest(tmp_path / "small") == expected


def test_a_scheduler_that_is_not_there_is_told_by_its_address(tmp_path):
    cluster = arena(tmp_path).grid.config.cluster
    with (
        pytest.raises(ConfigError, match=r"tcp://127\.0\.0\.1:9"),
        opened(cluster, scheduler="tcp://127.0.0.1:9", patience_s=1.0),
    ):
        pass


class Cutting:
    """Kills a process after the second cell."""

    def __init__(self, process):
        self.seen, self._process = 0, process

    def planned(self, cells, kept):
        pass

    def finished(self, cell, error):
        self.seen += 1
        if self.seen == 2:
            self._process.kill()


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_told_and_what_was_finished_is_kept(tmp_path):
    made = arena(tmp_path, **GRID)
    port = free_ports()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", str(port), "--no-dashboard"]
    scheduler = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    address = f"tcp://127.0.0.1:{port}"
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    helper = subprocess.Popen(worker, stderr=subprocess.DEVNULL)
    try:
        with (
            pytest.raises(ConfigError, match="the scheduler is lost"),
            opened(made.grid.config.cluster, scheduler=address) as farm,
        ):
            made.run(farm, progress=Cutting(scheduler))
        assert pq.read_table(tmp_path / "bench" / "results.parquet").num_rows >= 2
    finally:
        for process in (helper, scheduler):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_scheduler_elsewhere_computes_the_same(tmp_path, undisturbed):
    from distributed import LocalCluster

    expected, environments = undisturbed
    made = arena(tmp_path, environments=environments, **GRID)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50) as elsewhere,
        opened(made.grid.config.cluster, scheduler=elsewhere.scheduler_address) as farm,
    ):
        assert made.run(farm).computed == 12
    assert digest(tmp_path / "bench") == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its own
def test_jobs_of_a_queue_compute_the_same(tmp_path, undisturbed, monkeypatch):
    jobs = pytest.importorskip("dask_jobqueue")
    from dask_jobqueue.local import LocalCluster as QueueOfThisComputer

    expected, environments = undisturbed
    monkeypatch.setattr(jobs, "SLURMCluster", QueueOfThisComputer)  # jobs started as processes, as SLURM would
    options = {"cores": 1, "processes": 1, "memory": "2 GB"}
    made = arena(tmp_path, environments=environments, cluster={"kind": "slurm", "options": options}, **GRID)
    with opened(made.grid.config.cluster, workers=1) as farm:
        assert made.run(farm).computed == 12
    assert digest(tmp_path / "bench") == expected
