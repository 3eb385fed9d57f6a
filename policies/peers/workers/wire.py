"""What a worker says and hears: a line of JSON, then arrays in npy format, over its standard input and output.

A message is ``{"what": ..., "arrays": [[name, bytes], ...], ...}`` and a newline, then the arrays in that order.
Everything is plain data; nothing that a message holds is ever executed. Needs numpy alone, so that it runs with any
interpreter; workers are scripts in this folder, started by `policies.peers.process`.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Told = tuple[Array, Array, Array]
"""Scores, mean and standard deviation of the noise-free target over the candidates."""


def write(stream: BinaryIO, message: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Send a message with its arrays."""
    parts = []
    for array in arrays.values():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        parts.append(buffer.getvalue())
    sizes = [[name, len(part)] for name, part in zip(arrays, parts, strict=True)]
    stream.write(json.dumps({**message, "arrays": sizes}).encode() + b"\n" + b"".join(parts))
    stream.flush()


def read(line: bytes, take: Callable[[int], bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return a message whose first line is given; ``take(n)`` returns the next n bytes."""
    message: dict[str, Any] = json.loads(line)
    arrays = {name: np.load(io.BytesIO(take(size)), allow_pickle=False) for name, size in message.pop("arrays")}
    return message, arrays


def serve(make: Callable[..., Any], packages: tuple[str, ...]) -> None:
    """Answer judgements until the input ends.

    ``make(inputs, settings)`` is called once and returns an object with ``judge(taken, values, stds, seed) -> Told``.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    sys.stdout = sys.stderr
    questions = sys.stdin.buffer
    judge: Any = None
    while line := questions.readline():
        message, arrays = read(line, questions.read)
        try:
            if message["what"] == "start":
                judge = make(arrays["inputs"], message["settings"])
                write(answers, {"what": "ready", "versions": {name: version(name) for name in packages}}, {})
                continue
            started = time.process_time()
            told = judge.judge(arrays["taken"], arrays["values"], arrays["stds"], message["seed"])
            spent = {"what": "judged", "cpu_s": time.process_time() - started}
            write(answers, spent, dict(zip(("scores", "mean", "std"), map(np.asarray, told), strict=True)))
        except Exception as error:  # the library's own failures are answers: the other side decides what to do
            write(answers, {"what": "failed", "error": f"{type(error).__name__}: {error}"}, {})
