import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autoscope.config import Document, RunConfig, config_hash
from autoscope.errors import ConfigError

GOOD = """
name: night
seed: 3
environment: {name: simulated}
policy: {name: random, options: {a: 1}}
budget: {time: 10 h, dose: 1e12 e}
limits: {x: [-1 mm, 1 mm]}
"""


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Document(text, "night.yaml").validate(RunConfig)
    return str(caught.value)


def test_a_good_file_becomes_si_values():
    config = Document(GOOD, "night.yaml").validate(RunConfig)
    assert config.budget.time_s == 36000.0
    assert config.budget.dose_e == 1e12
    assert config.limits.x_m == (-1e-3, 1e-3)


def test_the_resolved_configuration_parses_to_itself():
    config = Document(GOOD, "night.yaml").validate(RunConfig)
    again = Document(yaml.safe_dump(config.plain()), "resolved.yaml").validate(RunConfig)
    assert again == config
    assert config_hash(again.plain()) == config_hash(config.plain())


def test_a_misspelt_key_is_refused_with_its_line_and_the_nearest_name():
    message = refused(GOOD.replace("budget:", "budgte:"))
    assert "night.yaml:6: budgte" in message
    assert "'budget'" in message


def test_a_nested_misspelt_key_names_its_path():
    assert "night.yaml:6: budget.tiem: no such setting. Did you mean 'time'?" in refused(GOOD.replace("time:", "tiem:"))


def test_every_problem_is_told_at_once():
    message = refused(GOOD.replace("10 h", "10").replace("1e12 e", "5 nm"))
    assert "budget.time" in message
    assert "budget.dose" in message


def test_a_missing_part_is_named():
    assert "policy: is required" in refused("name: a\nenvironment: {name: b}\n")


def test_a_key_given_twice_is_refused():
    assert "'seed' is given twice" in refused(GOOD + "seed: 4\n")


@pytest.mark.parametrize(
    "text", ["", "- a\n", "just text", "a: [1", "a: {b: 1", "\ta: 1", "a: !!python/object:os.system {}"]
)
def test_what_is_no_mapping_of_plain_values_is_refused_with_its_place(text):
    assert "night.yaml" in refused(text)


def test_an_absent_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "overnight.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match=r"Did you mean 'overnight.yaml'"):
        Document.read(tmp_path / "overnihgt.yaml")


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="cannot be read"):
        Document.read(path)


def test_overrides_change_one_setting_and_keep_the_others():
    document = Document(GOOD, "night.yaml")
    document.override("budget.time=30 min")
    document.override("engine.max_consecutive_faults=2")
    config = document.validate(RunConfig)
    assert (config.budget.time_s, config.budget.dose_e) == (1800.0, 1e12)
    assert config.engine.max_consecutive_faults == 2


@pytest.mark.parametrize("assignment", ["", "=3", "a.b", "name.x=1"])
def test_a_malformed_override_is_refused(assignment):
    with pytest.raises(ConfigError, match="--set"):
        Document(GOOD, "night.yaml").override(assignment)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda c: st.dictionaries(st.text(max_size=5), c, max_size=3) | st.lists(c, max_size=3),
        max_leaves=8,
    )
)
def test_any_yaml_is_accepted_or_refused_as_a_config_error(value):
    text = yaml.safe_dump(value)
    try:
        Document(text, "any.yaml").validate(RunConfig)
    except ConfigError as error:
        told = str(error)
    else:
        told = "any.yaml accepted"
    assert "any.yaml" in told


def test_what_is_known_of_the_sample_is_checked_and_kept_as_text():
    base = "name: a\nenvironment: {name: simulated}\npolicy: {name: random}\n"
    known = Document(base + "elements: [Pt, C]\nprepared: 2026-03-01\n", "test").validate(RunConfig)
    assert (known.elements, known.prepared) == (("Pt", "C"), "2026-03-01")
    assert "elements" not in Document(base, "test").validate(RunConfig).plain()
    for wrong in ("elements: [platinum]", "prepared: last week", "prepared: '2026-03-01T10:00:00'"):
        with pytest.raises(ConfigError, match=r"test:4"):
            Document(base + wrong + "\n", "test").validate(RunConfig)
