import pytest
import yaml
from typer.testing import CliRunner

from autoscope.cli.app import app
from autoscope.errors import ConfigError

SIMULATED = ["doctor", "--instrument", "simulated", "--clock", "simulated"]


def told(*arguments):
    return CliRunner().invoke(app, [*arguments])


def test_the_doctor_prints_every_check_and_a_summary_and_ends_with_zero():
    done = told(*SIMULATED)
    assert done.exit_code == 0, done.output
    assert "ok    with the stage at +x the image goes to -x" in done.output
    assert done.output.splitlines()[-1].startswith("simulated STEM (SIM-200): ")
    assert " 0 failed" in done.output.splitlines()[-1]


def test_a_broken_promise_is_told_with_a_remedy_and_ends_with_one(tmp_path):
    # a stage whose play is larger than the step seen: the image goes less far than asked
    options = {"stage": {"backlash": "5 um", "tolerance": "10 nm"}}
    path = tmp_path / "stage.yaml"
    path.write_text(yaml.safe_dump({"instrument": {"name": "simulated", "options": options}}))
    done = told(*SIMULATED, "--config", str(path))
    assert done.exit_code == 1
    assert "FAIL" in done.output
    assert "->" in done.output


@pytest.mark.parametrize(
    "document",
    [
        {"gun": {"beam_current": "80 pA"}},
        {"job": "serve", "instrument": {"name": "simulated", "options": {"gun": {"beam_current": "80 pA"}}}},
        {"environment": {"name": "simulated", "options": {"microscope": {"gun": {"beam_current": "80 pA"}}}}},
        {
            "environment": {
                "name": "microscope",
                "options": {"instrument": {"name": "simulated", "options": {"gun": {"beam_current": "80 pA"}}}},
            }
        },
    ],
    ids=["options alone", "a server's", "a simulated night's", "a microscope's"],
)
def test_options_are_found_wherever_a_file_of_ours_has_them(tmp_path, document):
    path = tmp_path / "it.yaml"
    path.write_text(yaml.safe_dump(document))
    done = told(*SIMULATED, "--config", str(path))
    assert done.exit_code == 0, done.output
    assert "beam_current_a is set and read back: 8e-11" in done.output


def test_a_file_for_another_instrument_is_refused(tmp_path):
    path = tmp_path / "it.yaml"
    path.write_text("instrument: {name: nion, options: {}}\n")
    error = told(*SIMULATED, "--config", str(path)).exception
    assert isinstance(error, ConfigError)
    assert "configures another instrument" in str(error)


@pytest.mark.parametrize("option", ["--fov", "--max-dose", "--stage-step", "--defocus-step"])
def test_a_number_without_unit_is_refused(option):
    error = told(*SIMULATED, option, "5").exception
    assert isinstance(error, ConfigError)
    assert option in str(error)
    assert "unit" in str(error)


def test_no_more_than_the_dose_given_is_spent():
    done = told(*SIMULATED, "--max-dose", "1e6 e")
    assert "electrons that the checks may spend are spent" in done.output


def test_the_list_of_instruments_tells_how_far_each_was_tried():
    done = CliRunner().invoke(app, ["list", "instruments"], env={"COLUMNS": "200"})
    assert "status" in done.output
    assert "not yet run on hardware" in done.output
