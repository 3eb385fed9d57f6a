"""What an instrument can be asked to do. SI units; the unit stands in the name; frames of reference: see `records`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)


class Value(BaseModel):
    """A frozen value that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return self.model_validate({name: getattr(self, name) for name in type(self).model_fields} | changes)


class MoveStage(Value):
    """Move the stage to an absolute position; fields left None stay where they are."""

    kind: Literal["move_stage"] = "move_stage"
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    alpha_rad: float | None = None
    beta_rad: float | None = None


def _absent(value: object) -> bool:
    return value is None


def _none(value: int) -> bool:
    return value == 0


class SetOptics(Value):
    """Set lenses and beam to absolute values; fields left None stay as they are.

    Aberrations are those that the column adds, in Krivanek's notation and the axes of the scan: the aberration function
    is ``t^2/2 (C10 + C12 cos, sin 2p) + t^3/3 (C21 cos, sin p + C23 cos, sin 3p) + t^4/4 C30`` for a ray at the angle
    ``t (cos p, sin p)`` (Krivanek, Dellby and Lupini, Ultramicroscopy 78 (1999) 1). ``C10`` is the defocus, ``C12`` the
    stigmator.
    """

    kind: Literal["set_optics"] = "set_optics"
    defocus_m: float | None = None
    stigmator_a_m: float | None = None
    stigmator_b_m: float | None = None
    beam_current_a: PositiveFloat | None = None
    convergence_rad: PositiveFloat | None = None
    energy_offset_ev: float | None = Field(default=None, exclude_if=_absent)
    """What the spectrometer adds to the energy of each loss: spectra move by it along their axis."""
    coma_a_m: float | None = Field(default=None, exclude_if=_absent)
    """Axial coma ``C21.a``, set with a corrector; instruments without one refuse it, as all that follow."""
    coma_b_m: float | None = Field(default=None, exclude_if=_absent)
    """``C21.b``."""
    threefold_a_m: float | None = Field(default=None, exclude_if=_absent)
    """Threefold astigmatism ``C23.a``."""
    threefold_b_m: float | None = Field(default=None, exclude_if=_absent)
    """``C23.b``."""
    spherical_m: float | None = Field(default=None, exclude_if=_absent)
    """Spherical aberration ``C30``, counted from how the corrector was found."""


CORRECTOR_FIELDS = ("coma_a_m", "coma_b_m", "threefold_a_m", "threefold_b_m", "spherical_m")
"""Of `SetOptics`: what needs an aberration corrector."""
OPTICS_FIELDS = (
    "defocus_m", "stigmator_a_m", "stigmator_b_m", "beam_current_a", "convergence_rad", "energy_offset_ev",
    *CORRECTOR_FIELDS,
)  # fmt: skip
"""All fields of `SetOptics`."""


class Scan(Value):
    """Scan an image with one or more synchronised image detectors."""

    kind: Literal["scan"] = "scan"
    fov_m: PositiveFloat
    width_px: PositiveInt
    height_px: PositiveInt
    dwell_s: PositiveFloat
    centre_x_m: float = 0.0
    centre_y_m: float = 0.0
    rotation_rad: float = 0.0
    detectors: tuple[str, ...] = ("HAADF",)
    dark_frames: NonNegativeInt = Field(default=0, exclude_if=_none)
    """If not 0: so many images of each detector with the beam kept from the sample; afterwards it is as it was."""


class Measure(Value):
    """Park the probe at an offset from the optical axis and record one spectrum per signal."""

    kind: Literal["measure"] = "measure"
    x_m: float
    y_m: float
    dwell_s: PositiveFloat
    signals: tuple[str, ...] = ("EELS",)
    detectors: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Image detectors read meanwhile, see ``Capabilities.point_readings``."""
    dark_frames: NonNegativeInt = Field(default=0, exclude_if=_none)
    """If not 0: so many spectra of each signal with the beam kept from the sample; afterwards it is as it was."""

    @model_validator(mode="after")
    def _dark_of_signals(self) -> Self:
        if self.dark_frames and self.detectors:
            raise ValueError("dark frames of image detectors are taken with a scan, not at a point")
        return self


class SpectrumImage(Value):
    """Scan a field and record a spectrum (and the image detectors) at every pixel."""

    kind: Literal["spectrum_image"] = "spectrum_image"
    fov_m: PositiveFloat
    width_px: PositiveInt
    height_px: PositiveInt
    dwell_s: PositiveFloat
    centre_x_m: float = 0.0
    centre_y_m: float = 0.0
    rotation_rad: float = 0.0
    signals: tuple[str, ...] = ("EELS",)
    detectors: tuple[str, ...] = ("HAADF",)


class SetStimulus(Value):
    """Set the stimulus of an in-situ holder."""

    kind: Literal["set_stimulus"] = "set_stimulus"
    temperature_k: PositiveFloat | None = None
    bias_v: float | None = None


class LoadSample(Value):
    """Load the sample in a slot of the carousel."""

    kind: Literal["load_sample"] = "load_sample"
    slot: Annotated[int, Field(ge=0)]


class Blank(Value):
    """Blank (True) or unblank (False) the beam between exposures."""

    kind: Literal["blank"] = "blank"
    blanked: bool = True


class SetValves(Value):
    """Open (True) or close (False) the valves between gun and sample; closing also blanks the beam."""

    kind: Literal["set_valves"] = "set_valves"
    valves_open: bool


class Wait(Value):
    """Do nothing for a while, e.g. until drift has settled."""

    kind: Literal["wait"] = "wait"
    duration_s: NonNegativeFloat


Action = Annotated[
    MoveStage | SetOptics | Scan | Measure | SpectrumImage | SetStimulus | LoadSample | Blank | SetValves | Wait,
    Field(discriminator="kind"),
]


def dark_frames(action: Action) -> int:
    """Return how many frames of each detector an action records without beam; 0 where it exposes or records none.

    Examples
    --------
    >>> dark_frames(Measure(x_m=0.0, y_m=0.0, dwell_s=1.0, dark_frames=8)), dark_frames(Wait(duration_s=1.0))
    (8, 0)
    """
    return action.dark_frames if isinstance(action, (Scan, Measure)) else 0
