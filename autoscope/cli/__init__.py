"""The ``autoscope`` command. Heavy imports happen inside commands, so that ``--help`` answers at once."""

from autoscope.cli.app import main

__all__ = ["main"]
