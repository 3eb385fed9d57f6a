"""The guard: limits on paths and fields, dose and time, and whether a frame is fit to learn from."""

from autoscope.guard.permission import Guard
from autoscope.guard.spending import Spending

__all__ = ["Guard", "Spending"]
