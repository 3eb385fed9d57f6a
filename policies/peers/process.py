"""A model that cannot share our environment, judged by a worker process of its own over plain pipes."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import PluginError
from policies.peers.peer import Judgement
from policies.peers.workers.wire import read, write
from policies.pixels import Indices

Array = NDArray[np.float64]

WORKERS = Path(__file__).resolve().parent / "workers"
SAID = 2000
"""So much of the end of what a worker said goes into an error."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
XLA = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "JAX_PLATFORMS": "cpu"}
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that would lead the worker's interpreter into our environment."""


class WorkerFailed(Exception):
    """The library failed at this judgement; the worker lives on."""


def interpreter(peer: str, configured: str | None) -> Path:
    """Return the Python of a peer's environment: as configured, by variable, or where ``make peers`` puts it.

    Raises
    ------
    PluginError
        There is none.
    """
    variable = f"AUTOSCOPE_PEER_{peer.upper()}_PYTHON"
    given = configured or os.environ.get(variable) or str(Path(".venv-peers", peer, "bin", "python"))
    path = Path(given).absolute()  # not resolved: an environment is known by the place of its link
    if not path.exists():
        raise PluginError(
            f"the peer {peer!r} runs in an environment of its own, and its interpreter is not there",
            value=str(path),
            remedy=f"Run 'make peers', or name it: option 'python' or the variable {variable}",
        )
    return path


class WorkerJudge:
    """Asks a script of `workers`, run by another interpreter with one thread, what it thinks of the candidates.

    The process starts with the first judgement and ends with this object, or with ours, whichever is first.

    Parameters
    ----------
    python : Path
        The interpreter.
    script : str
        Name of the worker.
    inputs : array (m, d)
        What the model sees of each candidate.
    settings : mapping
        Plain data for the worker.
    answer_s : float
        A worker that has said nothing for so long is ended.
    """

    def __init__(
        self, python: Path, script: str, inputs: Array, settings: Mapping[str, Any], answer_s: float = 900.0
    ) -> None:
        self._command = [str(python), "-W", "ignore", str(WORKERS / script)]
        self._inputs, self._settings, self._answer_s = inputs, dict(settings), answer_s
        self._process: subprocess.Popen[bytes] | None = None
        self._said: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this)
        weakref.finalize(self, self._said.close)
        self.versions: dict[str, str] = {}
        self.cpu_s = 0.0
        """CPU seconds of all judgements so far."""

    def judge(self, taken: Indices, values: Array, stds: Array, seed: int) -> Judgement:
        """Return what the worker thinks; see `Judge.judge`.

        Raises
        ------
        WorkerFailed
            The library failed.
        PluginError
            The worker ended, or did not answer in time.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        asked = {"taken": taken, "values": values, "stds": stds}
        message, arrays = self._ask({"what": "judge", "seed": seed}, asked)
        self.cpu_s += float(message["cpu_s"])
        return Judgement(*(np.asarray(arrays[name], dtype=np.float64) for name in ("scores", "mean", "std")))

    def _start(self) -> None:
        around = {name: value for name, value in os.environ.items() if name not in OURS}
        self._process = subprocess.Popen(
            self._command,
            env=around | ONE_THREAD | XLA,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        weakref.finalize(self, _end, self._process)
        message, _ = self._ask({"what": "start", "settings": self._settings}, {"inputs": self._inputs})
        self.versions = dict(message["versions"])

    def _ask(
        self, question: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        assert self._process is not None  # noqa: S101  (started by the caller)
        assert self._process.stdin is not None  # noqa: S101
        try:
            write(cast(BinaryIO, self._process.stdin), question, arrays)
            message, found = read(self._line(), self._take)
        except (OSError, EOFError, ValueError) as error:
            raise self._lost(str(error)) from error
        if message["what"] == "failed":
            raise WorkerFailed(message["error"])
        return message, found

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self._some(1)
        return line

    def _take(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            parts.append(self._some(min(left, 1 << 20)))
            left -= len(parts[-1])
        return b"".join(parts)

    def _some(self, most: int) -> bytes:
        """Return between one and ``most`` bytes of the answer."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        pipe = self._process.stdout.fileno()
        if not select.select([pipe], [], [], self._answer_s)[0]:
            raise EOFError(f"it said nothing for {self._answer_s:g} s")
        found = os.read(pipe, most)
        if not found:
            raise EOFError("it ended")
        return found

    def _lost(self, why: str) -> PluginError:
        if self._process is not None:
            _end(self._process)
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")[-SAID:].strip()
        where = " ".join(self._command)
        return PluginError(f"a peer's worker was lost: {why}", where=where, remedy=f"It said last:\n{said or '-'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a worker and let go of its pipes."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # what was still to be sent has no receiver any more
    process.kill()
    process.wait()
