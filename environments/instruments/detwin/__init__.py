"""de-twin: a digital twin of column, corrector and 4D detector, in process or over its own servers (SOAP and deapi).

Speaks the property names of DE-TEM-Channel, so the same driver addresses a real column behind that service and a
DE-Server; that has not been tried on hardware.
"""

from environments.instruments.detwin.config import Annulus, DetwinConfig, PatternConfig, ServerConfig
from environments.instruments.detwin.instrument import DetwinInstrument

__all__ = ["Annulus", "DetwinConfig", "DetwinInstrument", "PatternConfig", "ServerConfig"]
