"""What every driver of somebody else's instrument does alike: admit, act once, read back, count electrons, stop."""

from environments.instruments.driving.admission import admit, require_reached
from environments.instruments.driving.dose import DoseMeter
from environments.instruments.driving.frames import image_frame, point_frame, scan_axes
from environments.instruments.driving.instrument import DrivenInstrument, Reading
from environments.instruments.driving.vendor import vendor_package

__all__ = [
    "DoseMeter",
    "DrivenInstrument",
    "Reading",
    "admit",
    "image_frame",
    "point_frame",
    "require_reached",
    "scan_axes",
    "vendor_package",
]
