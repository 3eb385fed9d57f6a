"""Which word of ours is which property of DE-TEM-Channel, and the only place where units change.

==================  ======================  ==========================  =========================================
ours (SI)           property                its unit                    note
==================  ======================  ==========================  =========================================
x_m, y_m, z_m       StagePosition x, y, z   um                          posted, then polled; clamps, so checked
alpha_rad, beta_rad StagePosition a, b      deg                         likewise
defocus_m           Defocus                 um                          + z is the effective defocus
stigmator_a_m, _b   CondenserStig           1 = 1 um of A1 (twin)       A1 at 0 and 45 degrees
convergence_rad     AlphaSelector           5 rungs (5 ... 30 mrad)     read back as ConvergenceAngle, mrad
beam_current_a      SpotSize                rungs 1 ... 5               in process only: the law of the twin's gun
blanked             BeamBlank               0, 1
fov_m               Magnification           ladder                      smallest rung whose field holds the scan
centre, fov, offset Scan - Voltage H, V     V                           within +-10 V
rotation_rad        Scan - Rotation         deg                         x towards y, as ours
dwell_s             Frames Per Second       1/s                         one camera frame a point
coma_a_m, _b        corrector B2            -1/3 m (complex)            ``correctAberration``: value, target
threefold_a_m, _b   corrector A2            -1 m (complex)              likewise
spherical_m         corrector C3            m                           likewise
voltage_v           HighTension             V                           read only
==================  ======================  ==========================  =========================================

Orientation: de-twin's image content moves *with* the stage and its beam moves against it, so the specimen's own
coordinates are the negative of its image's. Scans are flipped along both axes, which leaves the stage as the vendor
shows it and makes images agree with it. For the same reason aberrations of third order in the angle (coma, threefold)
have the other sign here than there; those of even order (defocus, stigmator, spherical) have the same. ``C21`` is
``3 B2``, ``C23`` is ``A2``, ``C30`` is ``C3`` (de-twin writes CEOS's notation).

The corrector has no read-back of what was set, only measurements. So corrector fields are counted from how it was
found when the driver connected, and read back as what it has confirmed to have done; what it does is off by some per
cent, and stirs neighbours (coma moves defocus and stigmator a little): measure, correct, measure again.
"""

from __future__ import annotations

import math

UM = 1e-6
MRAD = 1e-3
STIGMATOR_M = 1e-6
"""Astigmatism A1 of one unit of the condenser stigmator (de-twin's ``condenser_stig_nm_per_unit``)."""
STEM = 1
ALPHA_RUNGS_RAD = (5e-3, 10e-3, 15e-3, 22e-3, 30e-3)
"""Convergence of AlphaSelector 0 ... 4 in STEM."""
SPOTS = (1, 2, 3, 4, 5)
COIL_LIMIT_V = 10.0
"""Output range of the scan card."""
FULL_FIELD_V = 2.0
"""Coil span that covers the calibrated field of a magnification."""

CORRECTOR = {
    "B2": (("coma_a_m", "coma_b_m"), -1.0 / 3.0),
    "A2": (("threefold_a_m", "threefold_b_m"), -1.0),
    "C3": (("spherical_m",), 1.0),
}
"""Aberration of the corrector: our fields (real, imaginary), and its metres per metre of ours."""
COMA_RANGE_M, THREEFOLD_RANGE_M, SPHERICAL_RANGE_M = 10e-6, 5e-6, 50e-6
"""How far a field may be set from how the corrector was found: what a detuned one needs, thrice."""

STAGE = {"x_m": ("x", UM), "y_m": ("y", UM), "z_m": ("z", UM)} | {
    "alpha_rad": ("a", math.radians(1.0)),
    "beta_rad": ("b", math.radians(1.0)),
}
"""Our stage fields: vendor axis, and SI per vendor unit."""
