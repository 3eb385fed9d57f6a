import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autoscope.config import ConfigModel
from autoscope.quantities import FROM_FILE, PositiveDuration, PositiveFluence, PositiveLength, parse, without_unit


class Sample(ConfigModel):
    fov_m: PositiveLength = 1e-6
    dwell_s: PositiveDuration = 1e-6
    dose_e_per_m2: PositiveFluence = 1e20


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("500 nm", "m", 5e-7),
        ("2 us", "s", 2e-6),
        ("5 deg", "rad", math.radians(5)),
        ("50 pA", "A", 5e-11),
        ("1.88 keV", "eV", 1880.0),
        ("10 h", "s", 36000.0),
        ("1 e/angstrom^2", "e/m^2", 1e20),
        ("-3 um", "m", -3e-6),
    ],
)
def test_typed_quantities_become_si(text, unit, value):
    assert parse(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["500", "500 s", "nm", "", "five nm", "nan nm", "inf nm", "1 nm nm", "1 foo", "__import__"]
)
def test_what_is_no_length_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text, "m")


def test_a_bare_number_from_a_file_is_refused_but_code_may_give_si():
    with pytest.raises(ValidationError, match="bare number"):
        Sample.model_validate({"fov": 5e-7}, context=FROM_FILE)
    assert Sample(fov_m=5e-7).fov_m == 5e-7


@pytest.mark.parametrize("given_", [True, None, [1], {"a": 1}])
def test_what_is_no_number_is_refused(given_):
    with pytest.raises(ValidationError, match="needs a number with a unit"):
        Sample.model_validate({"fov": given_}, context=FROM_FILE)


def test_zero_and_negative_are_refused_where_positive_is_needed():
    for text in ("0 nm", "-1 nm"):
        with pytest.raises(ValidationError, match="must be in"):
            Sample.model_validate({"fov": text}, context=FROM_FILE)


@given(st.floats(1e-12, 1e6), st.floats(1e-12, 1e6), st.floats(1, 1e25))
def test_what_is_written_parses_to_the_same_value(fov_m, dwell_s, dose):
    sample = Sample(fov_m=fov_m, dwell_s=dwell_s, dose_e_per_m2=dose)
    back = Sample.model_validate(sample.plain(), context=FROM_FILE)
    assert back.fov_m == pytest.approx(fov_m, rel=1e-14)
    assert back.plain() == Sample.model_validate(back.plain(), context=FROM_FILE).plain()


def test_names_are_typed_without_their_unit():
    assert [without_unit(n) for n in ("fov_m", "dose_e_per_m2", "speed_m_per_s", "seed", "steps")] == [
        "fov",
        "dose",
        "speed",
        "seed",
        "steps",
    ]
