"""A Nion STEM through nionswift-instrumentation: simulated by nionswift-usim, or a real one in its own process.

nionswift is GPL-3.0: nothing here imports it before a driver is made, and nothing else in autoscope does at all.
"""

from environments.instruments.nion.config import NionConfig
from environments.instruments.nion.instrument import NionInstrument

__all__ = ["NionConfig", "NionInstrument"]
