"""JEOL (and FEI) microscopes through instamatic's TEM server; no package of instamatic is needed on this side.

The server is ``instamatic.temserver`` with ``tem_communication_protocol: json`` in its settings. Its default is pickle,
which runs whatever a stranger sends: never expose that, and this driver does not speak it.

==============  ===============================  =====================================================================
ours (SI)       instamatic                       note
==============  ===============================  =====================================================================
x_m, y_m, z_m   getStagePosition [0:3]           whole nm
alpha, beta_rad getStagePosition [3:5]           degrees
(moving)        setStagePosition(wait=False)     absent axes null; then isStageMoving is polled: the server serves one
                isStageMoving, stopStage         call at a time, so none may last. The simulated stage does not stop
defocus_m       get/setObjectiveLenseFine        DAC 0..65535, with ``focus: {m_per_unit, neutral}``; else not offered
                or get/setDiffFocus              the latter in diffraction mode only
stigmator_*_m   get/setCondensorLensStigmator    DAC, with ``stigmator: {m_per_unit, neutral, neutral_b}``
blanked         isBeamBlanked, setBeamBlank
voltage_v       getHTValue                       V, read only
==============  ===============================  =====================================================================

Not there, so `Unsupported`: STEM images, spectra, beam current (``beam_current`` of the configuration counts dose). The
camera server takes TEM images, which are no scans.
"""

from environments.instruments.instamatic.config import DacCalibration, InstamaticConfig, StigmatorCalibration
from environments.instruments.instamatic.instrument import InstamaticInstrument

__all__ = ["DacCalibration", "InstamaticConfig", "InstamaticInstrument", "StigmatorCalibration"]
