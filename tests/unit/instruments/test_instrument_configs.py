"""Every file of configs/instrument is a valid example of its driver."""

from pathlib import Path

import pytest
import yaml

from autoscope.quantities import FROM_FILE
from autoscope.registry import available, load

FILES = sorted((Path(__file__).parents[3] / "configs" / "instrument").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_example_says_what_its_driver_understands(path):
    document = yaml.safe_load(path.read_text())
    part = document["instrument"]
    options = load("instruments", part["name"]).Config.model_validate(part.get("options", {}), context=FROM_FILE)
    assert document["job"] == "serve"
    if getattr(options, "serial", ""):
        assert document["serial"] == options.serial


def test_every_driver_for_a_foreign_instrument_has_an_example_and_says_how_far_it_was_tried():
    drivers = {plugin.name for plugin in available("instruments")} - {"simulated", "replay", "bus"}
    assert drivers >= {"detwin", "temscript", "instamatic", "autoscript"}
    assert {"detwin", "temscript", "instamatic", "autoscript"} <= {path.stem for path in FILES}
    for name in drivers:
        assert load("instruments", name).status, name
