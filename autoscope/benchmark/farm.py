"""Where cells are computed: on Dask workers, of this computer or of others; a lost worker costs time, nothing else."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from autoscope.benchmark import store
from autoscope.benchmark.campaign import made_differently, run_cell
from autoscope.benchmark.config import ClusterConfig
from autoscope.benchmark.grid import Cell
from autoscope.benchmark.memory import set_imports_aside
from autoscope.errors import AutoscopeError, ConfigError, PluginError

if TYPE_CHECKING:
    from distributed import Client

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
LOST_WORKERS = 5
"""Workers that may die over one cell before the cell is given up."""
SETTINGS = {
    "distributed.scheduler.allowed-failures": LOST_WORKERS,
    "distributed.nanny.pre-spawn-environ": ONE_THREAD,
    "distributed.worker.preload": ["autoscope.benchmark.worker_start"],
    "distributed.worker.preload-argv": [[]],
    "distributed.admin.large-graph-warning-threshold": "1 GiB",
}
"""What Dask is told, here and in the workers started from here."""
CLASSES = {"slurm": "SLURM", "pbs": "PBS", "lsf": "LSF", "sge": "SGE", "htcondor": "HTCondor", "moab": "Moab"}
CLASSES |= {"oar": "OAR"}


@dataclass(frozen=True)
class Finished:
    """What came of one cell: the bytes of its files, or why there are none."""

    key: str
    cell: bytes = b""
    truth_name: str = ""
    truth: bytes = b""
    error: str = ""


class Farm(Protocol):
    """Computes cells in any order."""

    def compute(self, cells: Iterable[Cell]) -> Iterator[Finished]:
        """Yield each as it is finished."""


def compute_cell(text: str, *, elsewhere: bool = False) -> tuple[str, bytes, str, bytes]:
    """Return key, files and name of the truth of a cell given as JSON; what a worker does.

    Parameters
    ----------
    text : str
        `Cell.text`.
    elsewhere : bool
        The cell comes from another process, whose code and libraries ours must be the same as.

    Raises
    ------
    AutoscopeError
        The cell cannot be computed, or this process runs other code than the one that asks.
    """
    cell = Cell.read(text)
    if elsewhere and (differing := made_differently(cell)):
        raise PluginError(
            "the worker would make another result than the computer that asks",
            where=os.uname().nodename,
            value="; ".join(differing),
            remedy="Install the same versions on both",
        )
    campaign = run_cell(cell)
    if elsewhere:
        set_imports_aside()
    return campaign.cell.key, store.encode(campaign), *store.encode_truth(campaign.truth)


class Here:
    """Computes cells one after the other in this process."""

    def compute(self, cells: Iterable[Cell]) -> Iterator[Finished]:
        """Yield each as it is finished."""
        for cell in cells:
            try:
                key, data, name, truth = compute_cell(cell.text())
                yield Finished(key, data, name, truth)
            except AutoscopeError as error:
                yield Finished(cell.key, error=f"{type(error).__name__}: {error}")


class Workers:
    """Computes cells on the workers of a Dask scheduler; those of a worker that is lost go to others.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def compute(self, cells: Iterable[Cell]) -> Iterator[Finished]:
        """Yield each as it is finished; those not yielded yet are called off when the caller stops asking."""
        from distributed import as_completed

        futures = {
            self._client.submit(compute_cell, cell.text(), elsewhere=True, key=cell.key, pure=False): cell.key
            for cell in cells
        }
        try:
            for future in as_completed(list(futures), loop=self._client.loop):
                yield self._collected(future, futures[future])
                future.release()
        finally:
            self._client.cancel([future for future in futures if not future.done()], force=True)

    def _collected(self, future: Any, key: str) -> Finished:
        error = future.exception()
        if error is not None:
            return Finished(key, error=f"{type(error).__name__}: {error}")
        _, data, name, truth = future.result()
        return Finished(key, data, name, truth)


@contextmanager
def opened(
    cluster: ClusterConfig, *, workers: int | None = None, scheduler: str = "", patience_s: float = 20.0
) -> Iterator[Farm]:
    """Open a farm, and close what was opened for it.

    Parameters
    ----------
    cluster : ClusterConfig
        What the configuration says.
    workers : int, optional
        Processes or jobs, in place of the configuration's; 0 computes in this process, without Dask.
    scheduler : str, optional
        Address of a scheduler that runs already, ``tcp://host:8786``; nothing is started then.
    patience_s : float
        How long a scheduler may take to answer.

    Raises
    ------
    ConfigError
        The scheduler cannot be reached, or what the cluster needs is not installed.
    """
    wanted = cluster.workers if workers is None else workers
    if wanted == 0 and not scheduler:
        yield Here()
        return
    from dask import config as dask_config
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(dask_config.set(SETTINGS))
        address = scheduler or stack.enter_context(_cluster(cluster, wanted or os.cpu_count() or 1))
        try:
            client = stack.enter_context(Client(address, set_as_default=False, timeout=patience_s))
        except (OSError, TimeoutError) as error:
            raise ConfigError(
                f"the scheduler cannot be reached: {error}",
                where="--scheduler",
                value=str(address),
                remedy="Start one with 'dask scheduler', and workers with 'dask worker ADDRESS --nthreads 1'",
            ) from error
        yield Workers(client)


def _cluster(config: ClusterConfig, workers: int) -> Any:
    if config.kind == "local":
        from distributed import LocalCluster

        return LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )
    try:
        jobs = importlib.import_module("dask_jobqueue")
    except ImportError as error:
        raise ConfigError(
            "this cluster needs dask-jobqueue, which is not installed",
            where="cluster.kind",
            value=config.kind,
            remedy="pip install 'autoscope[cluster]'",
        ) from error
    made = getattr(jobs, f"{CLASSES[config.kind]}Cluster")(**config.options)
    made.scale(jobs=workers)
    return made
