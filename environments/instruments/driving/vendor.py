"""Packages of vendors: imported when a driver is made, with an error that says how to get them."""

from __future__ import annotations

import importlib
from typing import Any

from autoscope.errors import PluginError


def vendor_package(module: str, *, driver: str, remedy: str) -> Any:
    """Import and return a module that only one driver needs.

    Raises
    ------
    PluginError
        It is not installed, or a part of it is missing; ``remedy`` says what to do.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PluginError(
            f"the instrument driver {driver!r} needs a package that is not installed",
            value=getattr(error, "name", None) or module,
            remedy=remedy,
        ) from error
