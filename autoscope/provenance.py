"""Which code and which machine made a run: written into its first record, compared when it is resumed or replayed."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "scipy", "torch", "gpytorch", "scikit-learn", "scikit-image", "pydantic")
"""Packages whose version may change the last bits of a decision."""


def provenance(plugins: Iterable[object]) -> dict[str, Any]:
    """Return what made a run, as plain data: versions, the sha256 of all code involved, the machine.

    Parameters
    ----------
    plugins : iterable
        Living plug-ins, or their classes; the packages they come from are hashed.

    Examples
    --------
    >>> sorted(provenance([]))
    ['code_sha256', 'libraries', 'machine', 'python', 'threads']
    """
    packages = {"autoscope", *(_package_of(plugin) for plugin in plugins)}
    return {
        "python": platform.python_version(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "code_sha256": {name: digest for name in sorted(packages) if (digest := code_sha256(name))},
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
    }


def _package_of(plugin: object) -> str:
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return kind.__module__.split(".")[0]


@functools.cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def code_sha256(package: str) -> str:
    """Return the sha256 over all Python files of an installed package, by name and content; "" if it has none.

    Examples
    --------
    >>> len(code_sha256("autoscope")), code_sha256("no_such_package")
    (64, '')
    """
    digest, files = hashlib.sha256(), _files(package)
    for name, path in files:
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest() if files else ""


def _files(package: str) -> list[tuple[str, Path]]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a script has no package
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [(package, Path(spec.origin))] if spec.origin and Path(spec.origin).is_file() else []
    folders = [Path(place) for place in spec.submodule_search_locations]
    return [(path.relative_to(f).as_posix(), path) for f in folders for path in sorted(f.rglob("*.py"))]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what differs between two provenances, as phrases.

    Examples
    --------
    >>> differences({"python": "3.11.2", "libraries": {"torch": "2.6.0"}},
    ...             {"python": "3.11.2", "libraries": {"torch": "2.13.0"}})
    ['libraries torch: 2.6.0 then, 2.13.0 now']
    """
    found: list[str] = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name} {text}" for text in differences(old, new)]
        elif old != new:
            found.append(f"{name}: {_short(old)} then, {_short(new)} now")
    return found


def _short(value: object) -> str:
    text = "absent" if value in (None, "") else str(value)
    return f"{text[:12]}..." if len(text) > 40 else text
