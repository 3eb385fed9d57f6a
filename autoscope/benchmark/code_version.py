"""Which code made a result: a digest of the modules a plug-in can reach by import, and of nothing else."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from autoscope.provenance import code_sha256

PROJECT = ("autoscope", "policies", "environments")
"""Packages whose modules are followed one by one; what else a plug-in imports is told by versions."""


def code_version(plugins: Iterable[type], modules: Iterable[str] = ()) -> str:
    """Return a sha256 over the source of all modules reachable from the modules of plug-ins, and from named ones.

    Imports inside functions count; modules of other distributions do not (see `autoscope.provenance.LIBRARIES`), except
    that a plug-in from elsewhere stands for the whole of its package. A new policy beside ours changes nothing here.

    Examples
    --------
    >>> from autoscope.perception.scalarizers import BandIntegral
    >>> len(code_version([BandIntegral]))
    64
    """
    starts = {*modules, *(plugin.__module__ for plugin in plugins)}
    ours = {name for name in starts if name.split(".")[0] in PROJECT}
    strangers = {name.split(".")[0] for name in starts - ours}
    lines = [f"{name} {source_sha256(name)}" for name in sorted(reachable(frozenset(ours)))]
    lines += [f"{name} {code_sha256(name)}" for name in sorted(strangers)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@functools.cache
def reachable(starts: frozenset[str]) -> frozenset[str]:
    """Return the modules of the project that these can import, themselves included."""
    found: set[str] = set()
    left = sorted(starts)
    while left:
        name = left.pop()
        if name in found or _source(name) is None:
            continue
        found.add(name)
        left += [m for m in imports(name) if m.split(".")[0] in PROJECT]
    return frozenset(found)


@functools.cache
def imports(module: str) -> tuple[str, ...]:
    """Return the modules named by the imports of a module: absolute ones, as this project has no others."""
    source = _source(module)
    if source is None:
        return ()
    return tuple(sorted({name for node in ast.walk(ast.parse(source.read_bytes())) for name in _named(node)}))


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name for alias in node.names for name in _with_packages(alias.name))
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from _with_packages(node.module)
        yield from (
            f"{node.module}.{alias.name}" for alias in node.names
        )  # may be modules; those that are not are none


def _with_packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


@functools.cache
def source_sha256(module: str) -> str:
    """Return the sha256 of a module's source; "" where it has none."""
    source = _source(module)
    return hashlib.sha256(source.read_bytes()).hexdigest() if source else ""


@functools.cache
def _source(module: str) -> Path | None:
    """Return the file of a module of the project without importing it; None where there is none."""
    package, _, rest = module.partition(".")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    for folder in map(Path, spec.submodule_search_locations):
        place = folder.joinpath(*rest.split(".")) if rest else folder
        for file in (place.with_suffix(".py") if rest else place / "__init__.py", place / "__init__.py"):
            if file.is_file():
                return file
    return None
