"""Plug-ins by entry point: listed without importing, loaded by name, with good messages when absent."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from autoscope.errors import PluginError

KINDS = ("policies", "environments", "instruments", "scalarizers", "metrics")


@dataclass(frozen=True)
class Plugin:
    """A registered name: where it comes from, not yet imported."""

    name: str
    target: str
    distribution: str


def _group(kind: str) -> dict[str, EntryPoint]:
    if kind not in KINDS:
        raise PluginError("no such kind of plug-in", value=kind, limit=", ".join(KINDS))
    return {e.name: e for e in entry_points(group=f"autoscope.{kind}")}


def available(kind: str) -> list[Plugin]:
    """Return the registered plug-ins of a kind, sorted by name, without importing any.

    Raises
    ------
    PluginError
        No such kind.
    """
    found = _group(kind)
    return [Plugin(n, e.value, e.dist.name if e.dist else "?") for n, e in sorted(found.items())]


def load(kind: str, name: str) -> Any:
    """Import and return the class registered under a name.

    Raises
    ------
    PluginError
        Not registered (with the nearest name), or its import failed (with the package it lacks).
    """
    found = _group(kind)
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"See 'autoscope list {kind}'"
        raise PluginError(f"no {kind} plug-in of this name", value=name, limit=", ".join(sorted(found)), remedy=hint)
    try:
        plugin = found[name].load()
    except ImportError as error:
        missing = getattr(error, "name", None) or str(error)
        raise PluginError(
            f"the {kind} plug-in {name!r} needs a package that is not installed",
            where=found[name].value,
            value=missing,
            remedy=f"Install it, e.g. 'pip install {missing}', or choose another (autoscope list {kind})",
        ) from error
    except Exception as error:  # a broken plug-in must not look like a broken autoscope
        raise PluginError(
            f"the {kind} plug-in {name!r} failed while it was imported: {error!r}", where=found[name].value
        ) from error
    if not hasattr(plugin, "Config"):
        raise PluginError(
            f"the {kind} plug-in {name!r} has no Config", where=found[name].value, remedy="See docs/plugins.md"
        )
    return plugin
