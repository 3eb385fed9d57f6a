"""Thermo Fisher AutoScript TEM: written against the documented calls, not yet run on hardware.

AutoScript's client comes with the microscope (a wheel of the vendor's, on the microscope PC or beside it).

==============  ======================================================  ============================================
ours (SI)       AutoScript (SI)                                         note
==============  ======================================================  ============================================
x_m .. beta_rad specimen.stage.position, .absolute_move_safe(           m, rad; an axis left None stays where it is
                StagePosition(x=, y=, z=, a=, b=))
defocus_m       optics.defocus                                          negative is underfocus
blanked         optics.blanker.is_beam_blanked, .blank(), .unblank()
fov_m, centre   optics.scan_field_of_view, Region(RELATIVE,             the field is the square frame of ``size``
                Rectangle(left, top, width, height))                    pixels; an offset scan is a part of a larger
rotation_rad    optics.scan_rotation                                    rad, plus ``scan_rotation_offset``
an image        acquisition.acquire_stem_images_advanced(               dwell s; one image per detector
                StemAcquisitionSettings(dwell_time=, detector_types=,
                size=, region=))
a point         optics.paused_scan_beam_position = [x, y]               0..1 of the field, from its left top corner
a spectrum      analysis.eds.acquire_spectrum(EdsAcquisitionSettings)   exposure_time s, dispersion eV a channel
beam_current_a  (detectors.screen.measure_current() moves the screen)   from the configuration; never measured in a run
voltage_v       optics.acceleration_voltage.value                       V, read only
valves          vacuum.column_valves.close()                            in make_safe, if ``close_valves_when_safe``
==============  ======================================================  ============================================

Not there, so `Unsupported`: stigmators, setting of beam current and convergence; EELS (it goes through the
spectrometer's own software); spectrum images and 4D data, which stay on the vendor's own server. Relative moves are
never used. Acquisition calls block, and public code knows of no call that stops them, so `make_safe` blanks on a client
of its own and the frames of the act under way are thrown away.

Assumed, to be looked at first on hardware (`autoscope doctor` does): the unit and sense of ``scan_rotation``, that
fractions of ``paused_scan_beam_position`` and ``Region`` run from the left top corner, and that images need no mirror.
"""

from environments.instruments.autoscript.config import AutoscriptConfig, EdsConfig
from environments.instruments.autoscript.instrument import AutoscriptInstrument

__all__ = ["AutoscriptConfig", "AutoscriptInstrument", "EdsConfig"]
