"""Thermo Fisher microscopes through temscript's server (TEM scripting over HTTP): Titan, Talos, Tecnai.

``temscript-server`` runs on the microscope PC; ``temscript-server --null`` needs no microscope.

==============  ==================================  ==============================================================
ours (SI)       temscript                           note
==============  ==================================  ==============================================================
x_m .. beta_rad stage_position x y z (m), a b (rad) method GO; limits from stage_limits; the null server clamps
defocus_m       probe_defocus (m), or defocus       negative is underfocus; off a Titan ``defocus`` has no unit and
                                                    needs ``defocus_m_per_unit``
stigmator_*_m   condenser_stigmator x, y            no unit: needs ``stigmator_m_per_unit``, else not offered
blanked         beam_blanked
fov_m           stem_magnification                  ``field_at_1x`` / magnification, from the configuration
rotation_rad    stem_rotation (rad)                 plus ``scan_rotation_offset``
width, height   stem_acquisition_param binning      FULL frames, square, ``full_frame`` / binning
dwell_s         stem_acquisition_param dwell_time
an image        acquire(detectors)                  one call; the server serves nobody else meanwhile
voltage_v       voltage (kV)                        read only
==============  ==================================  ==============================================================

Not there, so `Unsupported`: offset of the scan, sub-areas, parking the probe (`Measure`), spectra, beam current
(``beam_current`` of the configuration counts dose), stopping a stage under way. Images of TEM cameras are not offered:
they are no scans.
"""

from environments.instruments.temscript.config import TemscriptConfig
from environments.instruments.temscript.instrument import TemscriptInstrument

__all__ = ["TemscriptConfig", "TemscriptInstrument"]
