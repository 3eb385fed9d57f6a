"""Elements and materials: X-ray lines, shell energies, energy-loss edges, densities, Drude constants.

Line and shell energies: Thompson et al., *X-ray Data Booklet* (LBNL 2009), rounded to 1 eV; line weights within a
family are relative to its alpha line. Energy-loss onsets: Ahn & Krivanek, *EELS Atlas* (1983). Densities: CRC
Handbook. Drude constants are effective ones that put the loss peak where it is measured (Egerton 2011, table C.2;
for silver and gold Johnson & Christy, Phys. Rev. B 6, 4370 (1972), fitted below the interband threshold).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoscope.errors import ConfigError

AVOGADRO_PER_MOL = 6.02214076e23

Shell = Literal["K", "L", "M"]


@dataclass(frozen=True)
class Family:
    """The X-ray lines of one shell: its binding energy, and (line energy, relative weight) pairs."""

    shell: Shell
    binding_ev: float
    lines: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Edge:
    """An energy-loss edge: shell, onset, spin-orbit splitting of the onset, oscillator strength of white lines."""

    shell: Shell
    onset_ev: float
    splitting_ev: float = 0.0
    white_line: float = 0.0


@dataclass(frozen=True)
class Element:
    """What simulated spectrometers need to know of an element."""

    symbol: str
    number: int
    weight_g_per_mol: float
    density_g_per_cm3: float
    families: tuple[Family, ...]
    edges: tuple[Edge, ...]


def _k(binding_ev: float, *lines: tuple[float, float]) -> Family:
    return Family("K", binding_ev, lines)


def _l(binding_ev: float, *lines: tuple[float, float]) -> Family:
    return Family("L", binding_ev, lines)


def _m(binding_ev: float, *lines: tuple[float, float]) -> Family:
    return Family("M", binding_ev, lines)


_ELEMENTS = (
    Element("C", 6, 12.011, 1.9, (_k(284, (277, 1)),), (Edge("K", 284),)),
    Element("N", 7, 14.007, 1.0, (_k(410, (392, 1)),), (Edge("K", 401),)),
    Element("O", 8, 15.999, 1.1, (_k(543, (525, 1)),), (Edge("K", 532),)),
    Element("Al", 13, 26.982, 2.70, (_k(1560, (1487, 1), (1557, 0.013)),), (Edge("L", 73), Edge("K", 1560))),
    Element("Si", 14, 28.085, 2.33, (_k(1839, (1740, 1), (1836, 0.03)),), (Edge("L", 99), Edge("K", 1839))),
    Element("S", 16, 32.06, 2.07, (_k(2472, (2308, 1), (2464, 0.066)),), (Edge("L", 165), Edge("K", 2472))),
    Element("V", 23, 50.942, 6.11, (_k(5465, (4952, 1), (5427, 0.13)), _l(512, (511, 1))), (Edge("L", 513, 8, 0.21),)),
    Element(
        "Fe", 26, 55.845, 7.87, (_k(7112, (6404, 1), (7058, 0.13)), _l(707, (705, 1))), (Edge("L", 708, 13, 0.10),)
    ),
    Element(
        "Co", 27, 58.933, 8.90, (_k(7709, (6930, 1), (7649, 0.13)), _l(778, (776, 1))), (Edge("L", 779, 15, 0.08),)
    ),
    Element(
        "Ni", 28, 58.693, 8.91, (_k(8333, (7478, 1), (8265, 0.13)), _l(853, (852, 1))), (Edge("L", 855, 17, 0.045),)
    ),
    Element("Cu", 29, 63.546, 8.96, (_k(8979, (8048, 1), (8905, 0.13)), _l(933, (930, 1))), (Edge("L", 931, 20),)),
    Element(
        "Se", 34, 78.971, 4.81, (_k(12658, (11222, 1), (12496, 0.15)), _l(1434, (1379, 1))), (Edge("L", 1436, 40),)
    ),
    Element(
        "Mo",
        42,
        95.95,
        10.28,
        (_k(20000, (17479, 1), (19608, 0.15)), _l(2520, (2293, 1), (2395, 0.33), (2518, 0.06))),
        (Edge("M", 227), Edge("L", 2520)),
    ),
    Element("Pd", 46, 106.42, 12.02, (_l(3173, (2839, 1), (2990, 0.34), (3172, 0.09)),), (Edge("M", 335),)),
    Element("Ag", 47, 107.868, 10.49, (_l(3351, (2984, 1), (3151, 0.35), (3348, 0.12)),), (Edge("M", 367),)),
    Element(
        "W",
        74,
        183.84,
        19.25,
        (_l(10207, (8398, 1), (9672, 0.39), (9961, 0.21), (11286, 0.07)), _m(1809, (1775, 1), (1835, 0.59))),
        (Edge("M", 1809),),
    ),
    Element(
        "Pt",
        78,
        195.084,
        21.45,
        (_l(11564, (9442, 1), (11071, 0.40), (11251, 0.22), (12942, 0.08)), _m(2122, (2051, 1), (2127, 0.59))),
        (Edge("M", 2122),),
    ),
    Element(
        "Au",
        79,
        196.967,
        19.30,
        (_l(11919, (9713, 1), (11442, 0.40), (11585, 0.22), (13382, 0.08)), _m(2206, (2123, 1), (2205, 0.59))),
        (Edge("M", 2206),),
    ),
)

ELEMENTS = {element.symbol: element for element in _ELEMENTS}
"""All known elements by symbol."""


def element(symbol: str) -> Element:
    """Return an element by its symbol.

    Raises
    ------
    ConfigError
        The element is not in the table.

    Examples
    --------
    >>> element("Pt").number
    78
    """
    if symbol not in ELEMENTS:
        raise ConfigError(
            "no data for this element", value=symbol, limit=", ".join(ELEMENTS), remedy="Choose one of these"
        )
    return ELEMENTS[symbol]


@dataclass(frozen=True)
class Drude:
    """Dielectric function ``eps(E) = background - plasma_ev^2 / (E^2 + i E damping_ev)``."""

    background: float
    plasma_ev: float
    damping_ev: float


_CARBON_LIKE = Drude(1.0, 24.0, 14.0)
_DRUDE = {
    "C": _CARBON_LIKE,
    "Al": Drude(1.0, 15.0, 0.6),
    "Si": Drude(1.0, 16.7, 3.5),
    "Ag": Drude(5.0, 9.0, 0.12),
    "Au": Drude(9.5, 8.95, 0.16),
    "Pd": Drude(1.0, 25.0, 14.0),
    "Pt": Drude(1.0, 29.0, 16.0),
    "W": Drude(1.0, 25.0, 10.0),
    "Mo": Drude(1.0, 24.0, 8.0),
}
_OTHER_METAL = Drude(1.0, 22.0, 14.0)


@dataclass(frozen=True)
class Material:
    """A homogeneous solid.

    Attributes
    ----------
    name : str
    fractions : tuple of (symbol, atomic fraction)
        Fractions sum to one.
    density_g_per_cm3 : float
    drude : Drude
        Effective constants of its valence losses.
    """

    name: str
    fractions: tuple[tuple[str, float], ...]
    density_g_per_cm3: float
    drude: Drude

    @property
    def atoms_per_m3(self) -> float:
        """Number density of atoms of all kinds.

        Examples
        --------
        >>> f"{pure('Pt').atoms_per_m3:.2e}"
        '6.62e+28'
        """
        weight = sum(fraction * element(symbol).weight_g_per_mol for symbol, fraction in self.fractions)
        return self.density_g_per_cm3 * 1e6 * AVOGADRO_PER_MOL / weight


def pure(symbol: str) -> Material:
    """Return the elemental solid.

    Raises
    ------
    ConfigError
        The element is not in the table.
    """
    return Material(symbol, ((symbol, 1.0),), element(symbol).density_g_per_cm3, _DRUDE.get(symbol, _OTHER_METAL))


def alloy(host: str, guest: str, guest_fraction: float) -> Material:
    """Return a disordered alloy whose atomic volume is the mean of its elements' (Vegard's law in volumes).

    The Drude constants are the host's.

    Raises
    ------
    ConfigError
        An element is not in the table.

    Examples
    --------
    >>> alloy("Pt", "Co", 0.25).name
    'Pt75Co25'
    """
    parts = ((host, 1.0 - guest_fraction), (guest, guest_fraction))
    volume = sum(fraction / pure(symbol).atoms_per_m3 for symbol, fraction in parts)
    weight = sum(fraction * element(symbol).weight_g_per_mol for symbol, fraction in parts)
    name = "".join(f"{symbol}{100 * fraction:.0f}" for symbol, fraction in parts)
    return Material(name, parts, weight / (AVOGADRO_PER_MOL * volume * 1e6), pure(host).drude)


SILICON_NITRIDE = Material("Si3N4", (("Si", 3 / 7), ("N", 4 / 7)), 3.0, Drude(1.0, 23.7, 9.0))
"""Amorphous silicon nitride of membranes."""
