"""The guard: limits on paths and fields, dose and time, and whether a frame is fit to learn from."""

from autoscope.guard.area_dose import AreaDose
from autoscope.guard.permission import Guard
from autoscope.guard.spending import Spending

__all__ = ["AreaDose", "Guard", "Spending"]
