"""The arena's own load: 8 policies x 6 environments, all simulated, of sizes as people use them."""

from __future__ import annotations

from typing import Any

PLASMON = {"name": "peak_height", "options": {"band": ["1.6 eV", "2.2 eV"], "fit_channels": 9}}
PARTICLES = {"kind": "nanoparticles", "extent": ["600 nm", "600 nm"], "count": 10}
CATALYST = {
    "kind": "catalyst",
    "extent": ["4 um", "4 um"],
    "density": "60 um^-2",
    "radius": "20 nm",
    "rare": {"fraction": 0.12},
}
CRYSTAL = {"kind": "crystal2d", "extent": ["8 nm", "8 nm"], "dopant_fraction": 0.03}
COBALT = {
    "name": "band_integral",
    "options": {
        "band": ["6.80 keV", "7.06 keV"],
        "background": [["6.40 keV", "6.66 keV"], ["7.20 keV", "7.40 keV"]],
    },
}
VANADIUM = {"name": "band_integral", "options": {"band": ["4.80 keV", "5.10 keV"]}}

TENTH = {"keep": 0.1}

POLICIES: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "grid": {"name": "grid"},
    "sobol": {"name": "sobol"},
    "gp": {"name": "gp"},
    "gp place alone": {"name": "gp", "options": {"features": "coordinates"}},
    "gp improvement": {"name": "gp", "options": {"acquisition": {"name": "expected_improvement"}}},
    "gp map": {"name": "gp", "options": {"acquisition": {"name": "integrated_variance"}}},
    "deep kernel": {"name": "deep_kernel"},
}


def _map(
    specimen: dict[str, Any], scalarizer: dict[str, Any], dwell: str, source: dict[str, Any], *, alter: Any = None
) -> dict[str, Any]:
    made = {"specimen": specimen, "side_px": 64, "dwell": dwell} | source
    kept = "200 ms" if alter == TENTH else dwell
    data = {"specimen": made, "dwell": kept, "alter": alter or {}}
    return _task({"name": "replay", "options": {"data": data}}, scalarizer, kept)


def _task(environment: dict[str, Any], scalarizer: dict[str, Any], dwell: str, **options: Any) -> dict[str, Any]:
    return {"environment": environment, "scalarizers": {"target": scalarizer}, "dwell": dwell} | options


_LOW_LOSS = {"fov": "400 nm", "band": ["1.2 eV", "2.6 eV"]}
_X_RAYS = {"fov": "1.2 um", "signal": "EDS", "band": ["6.2 keV", "7.6 keV"]}
_ATOMS = {"fov": "4 nm", "signal": "EDS", "band": ["4.4 keV", "5.8 keV"]}
_LIVE = {"name": "simulated", "options": {"microscope": {"specimens": [PARTICLES]}}}
_OVERVIEW = {"fov": "400 nm", "width_px": 64, "height_px": 64, "dwell": "10 us"}

ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "plasmon": _map(PARTICLES, PLASMON, "50 ms", _LOW_LOSS),
    "plasmon with an image of nothing": _map(PARTICLES, PLASMON, "50 ms", _LOW_LOSS, alter={"image": "meaningless"}),
    "cobalt": _map(CATALYST, COBALT, "4 s", _X_RAYS),
    "vanadium": _map(CRYSTAL, VANADIUM, "2 s", _ATOMS),
    "vanadium at a tenth of the dose": _map(CRYSTAL, VANADIUM, "2 s", _ATOMS, alter=TENTH),
    "plasmon on a drifting microscope": _task(_LIVE, PLASMON, "50 ms", signals=["EELS"], pool=_OVERVIEW),
}


def standard(seeds: int, measurements: int, **changed: Any) -> dict[str, Any]:
    """Return the benchmark as it would be written in a file."""
    common = {"opening": 5, "maps_at": [measurements // 2], "metrics": {"regret": {"name": "simple_regret"}}}
    return {
        "job": "bench",
        "name": "standard",
        "environments": ENVIRONMENTS,
        "policies": POLICIES,
        "budgets": [{"measurements": measurements}],
        "seeds": {"count": seeds},
        **common,
        **changed,
    }
