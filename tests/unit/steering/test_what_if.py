"""What would be chosen next under other settings, without the run noticing."""

import pytest

from autoscope.errors import ConfigError, OrderRefused
from autoscope.records import Finish
from autoscope.steering.commands import AcquisitionWish, Disc, Exclude, Mark, Rectangle, Retract, SendTo, SetAcquisition
from autoscope.steering.what_if import what_if
from tests.unit.steering.steered import Run, Script


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    script = Script({10: [Exclude(place=Disc(x_m=0.0, y_m=0.0))]})
    return Run(tmp_path_factory.mktemp("home"), script, "gp", steps=14).run()


def places(choices):
    return [(c.action.x_m, c.action.y_m) for c in choices if not isinstance(c, Finish)]


def test_as_it_is_the_first_choice_is_the_one_the_run_would_make_next(run, tmp_path):
    longer = Run(tmp_path, Script({10: [Exclude(place=Disc(x_m=0.0, y_m=0.0))]}), "gp", steps=15).run()
    preview = what_if(run.journal, options=["dwell=50 ms"], count=3)
    assert places(preview.as_it_is)[0] == (longer.points()[-1]["x_m"], longer.points()[-1]["y_m"])
    assert len(set(places(preview.as_it_is))) == 3


def test_other_settings_and_commands_show_in_the_choices_and_nothing_is_written(run):
    before = len(list(run.journal.records()))
    left = Rectangle(x_m=(-1.0, 0.0), y_m=(-1.0, 1.0))
    preview = what_if(run.journal, commands=[Exclude(place=left)], count=4)
    assert all(x > 0.0 for x, _ in places(preview.otherwise))
    wish = SetAcquisition(wish=AcquisitionWish(name="max_variance"))
    assert what_if(run.journal, commands=[wish], count=1).otherwise[0].acquisition == "max_variance"
    assert what_if(run.journal, options=["dwell=50 ms"], count=1).otherwise[0].action.dwell_s == 0.05
    retracted = what_if(run.journal, commands=[Retract(act_id="small-000003")], count=1)
    assert retracted.otherwise[0].data_sha256 != retracted.as_it_is[0].data_sha256
    assert len(list(run.journal.records())) == before


def test_what_cannot_be_previewed_is_said(run, tmp_path):
    with pytest.raises(ConfigError, match="nothing to compare"):
        what_if(run.journal)
    with pytest.raises(ConfigError, match="no acquisition function"):
        what_if(run.journal, commands=[SetAcquisition(wish=AcquisitionWish(name="luck"))])
    plain = Run(tmp_path, Script(), "random", steps=4).run()
    with pytest.raises(OrderRefused, match="does not follow it"):
        what_if(plain.journal, commands=[Mark(place=Disc(x_m=0.0, y_m=0.0))])
    assert places(what_if(plain.journal, commands=[SendTo(place=Disc(x_m=0.0, y_m=0.0))], count=1).otherwise)
