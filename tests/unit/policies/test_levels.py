"""From the atlas to the particles of a simulated grid: only squares of use, in focus, best branches first."""

import numpy as np
import pytest

from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.loop import Engine
from autoscope.errors import ConfigError
from autoscope.journal import MemoryJournal
from autoscope.records import Axis, Frame, FrameMeta
from environments.sample.build import build_specimen
from environments.sample.grid import STATES
from environments.sample.grid_config import GridConfig
from policies.levels import LevelsPolicy
from policies.levels.agenda import Agenda
from policies.levels.config import FieldsConfig, SquaresConfig
from policies.levels.places import Found, find_places

TEXT = """
name: levels
seed: SEED
environment:
  name: simulated
  options:
    microscope:
      lens: {convergence: 10 mrad, hidden_defocus: 350 nm}
      stage: {x_range: [-1.6 mm, 1.6 mm], y_range: [-1.6 mm, 1.6 mm], speed: 100 um/s}
      scan: {fov_range: [1 nm, 500 um]}
      specimens:
        - kind: grid
          diameter: 400 um
          content: {density: 5 um^-2, rare: {fraction: 0.2}}
policy:
  name: levels
  options:
    target: co_k
    area: {x: [-140 um, 140 um], y: [-140 um, 140 um]}
    levels:
      - {name: atlas, look: {fov: 320 um, size_px: 384, dwell: 1 us}, find: {kind: squares, size: 50 um}}
      - {name: square, keep: 2, look: {fov: 40 um, size_px: 128, dwell: 1 us}, find: {kind: fields, fov: 2 um}}
      - {name: field, keep: 1, focus: true, look: {fov: 1 um, size_px: 384, dwell: 4 us}, find: {kind: particles}}
      - {name: particle, keep: 2, by: beam, measure: {dwell: 1 s, signals: [EDS]}}
    focus: {first_span: 8 um, span: 2 um, map_length: 60 um, map_amplitude: 1 um, tolerance: 300 nm}
scalarizers: {co_k: {name: band_integral, options: {band: [6.80 keV, 7.06 keV]}}}
"""


def made(seed=3, more=""):
    return assemble(resolve(Document(TEXT.replace("SEED", str(seed)) + more, "levels.yaml")))


@pytest.fixture(scope="module")
def done():
    """A run to its end: job, journal, end and what is really there."""
    job = made()
    journal = MemoryJournal(clock=job.clock)
    truth = {}
    closing = job.environment.close
    job.environment.close = lambda: (truth.update(job.environment.truth()), closing())
    end = Engine(job, journal).run()
    return job, journal, end, truth


def decisions(journal):
    return [record.body["decision"] for record in journal.records("intent")]


def test_every_level_is_reached_and_the_run_ends_when_all_is_seen(done):
    _, journal, end, _ = done
    assert end.reason.startswith("all done: 1 of atlas seen, 0 left, 2 of square seen, 0 left, 2 of field seen, 0 left")
    particles = [d["purpose"] for d in decisions(journal) if d["target"].startswith("particle")]
    assert set(particles) == {"spectrum"}
    assert 2 <= len(particles) <= 4


def test_only_whole_squares_are_visited(done):
    _, journal, _, truth = done
    specimen = truth["specimen"]
    squares = np.column_stack([specimen["square_x_m"], specimen["square_y_m"]])
    for decision in decisions(journal):
        if decision["purpose"] == "travel" and decision["target"].startswith("square"):
            at = np.array([decision["action"]["x_m"], decision["action"]["y_m"]])
            away = np.hypot(*(squares - at).T)
            assert away.min() < 5e-6
            assert specimen["square_state"][int(away.argmin())] == "intact"


def test_every_field_is_focused_before_it_is_imaged(done):
    _, journal, *_ = done
    purposes = [(d["target"].split()[0], d["purpose"]) for d in decisions(journal)]
    for k, (level, purpose) in enumerate(purposes):
        if (level, purpose) == ("field", "overview"):
            assert purposes[k - 1] == ("field", "focus")


def test_every_decision_has_a_reason_and_choices_have_a_value(done):
    _, journal, *_ = done
    assert all(d["reason"] for d in decisions(journal))
    chosen = [d for d in decisions(journal) if d["acquisition"]]
    assert all(d["acquisition_value"] > 0.0 for d in chosen)


def test_the_state_taken_up_decides_as_the_policy_that_gave_it(done):
    job, _, *_ = done
    state = job.policy.state()
    again = LevelsPolicy(job.resolved.policy.options, rng=np.random.default_rng(0))
    again.restore(state)
    assert again.state() == state


def test_the_plan_counts_each_level_and_says_what_the_time_does_not_cover():
    from autoscope.cli.planning import first_view, planned

    for hours, whole in ((10, 1.0), (0.005, 2.0)):
        job = made(more=f"budget: {{time: {hours} h}}\n")
        job.environment.reset(seed=3, options={"bare": True})
        view = first_view(job)
        stages = planned(job, view)
        assert [stage.name for stage in stages] == ["atlas", "square", "field", "particle", "first focus"]
        assert stages[1].whole == whole
        assert sum(stage.time_s for stage in stages) > 0.0


def frame_of(image, fov_m):
    axes = tuple(Axis(name=n, unit="m", size=s, offset=-fov_m / 2, scale=fov_m / s) for n, s in zip("yx", image.shape))
    return Frame(FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0), image)


@pytest.mark.parametrize("seed", range(4))
def test_squares_found_in_an_atlas_are_whole_and_hardly_one_is_overlooked(seed):
    specimen = build_specimen(GridConfig(diameter_m=5e-4), rng=np.random.default_rng(seed), voltage_v=2e5)
    fov_m, n = 4.4e-4, 352
    u = ((np.arange(n) + 0.5) / n - 0.5) * fov_m
    x, y = np.meshgrid(u, u)
    expected = 20.0 + 300.0 * specimen.image_yield("HAADF", x, y, 0.0) + 0.0
    rng = np.random.default_rng(100 + seed)
    # a film scatters little: an image of 3e5 electrons a pixel shows it above the noise of the readout
    expected += 3e4 * np.minimum(specimen.image_yield("HAADF", x, y, 0.0), 0.05)
    image = rng.poisson(expected).astype(np.uint16)
    truth = specimen.truth()
    found = find_places(frame_of(image, fov_m), SquaresConfig(size_m=50e-6))
    in_view = (np.abs(truth["square_x_m"]) < 0.19e-3) & (np.abs(truth["square_y_m"]) < 0.19e-3)
    intact = in_view & (truth["square_state"] == "intact")
    hit = set()
    for place in found:
        away = np.hypot(truth["square_x_m"] - place.x_m, truth["square_y_m"] - place.y_m)
        assert away.min() < 3e-6
        assert truth["square_state"][int(away.argmin())] == "intact", place
        hit.add(int(away.argmin()))
    assert len(hit & set(np.flatnonzero(intact))) >= 0.9 * intact.sum()


def test_an_image_in_which_nothing_is_has_no_squares():
    assert find_places(frame_of(np.full((64, 64), 20, np.uint16), 1e-4), SquaresConfig()) == []


def test_fields_over_a_hole_come_last():
    image = np.random.default_rng(1).poisson(400.0, (128, 128)).astype(np.uint16)
    image[:32, :32] = 20
    places = find_places(frame_of(image, 40e-6), FieldsConfig(fov_m=10e-6))
    assert len(places) == 16
    assert (places[-1].x_m, places[-1].y_m) == pytest.approx((-15e-6, -15e-6), abs=1e-6)
    assert "0%" in places[-1].reason


def test_a_branch_that_gave_much_is_preferred_and_one_that_gave_nothing_is_left():
    agenda = Agenda()
    rich, poor = (
        agenda[n] for n in agenda.add(0, None, (0.0, 0.0), [Found(0.0, 0.0, 1.0, ""), Found(1.0, 0.0, 1.0, "")])
    )
    first = agenda.add(1, rich, (0.0, 0.0), [Found(0.0, 0.0, 0.5, "")] * 2)
    second = agenda.add(1, poor, (1.0, 0.0), [Found(0.0, 0.0, 0.5, "")] * 2)
    before = agenda.worth(agenda[first[1]], 0.5)
    assert before == agenda.worth(agenda[second[1]], 0.5)
    agenda.credit(first[0], 10.0)
    agenda.credit(second[0], 0.0)
    assert agenda.worth(agenda[first[1]], 0.5) > before > agenda.worth(agenda[second[1]], 0.5)


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ("[{name: a, measure: {dwell: 1 s}}]", "the first level needs 'look'"),
        ("[{name: a, look: {fov: 1 um}}, {name: b, look: {fov: 1 um}}]", "level a needs 'find'"),
        ("[{name: a}]", "level a needs 'look' or 'measure'"),
        ("[{name: a, look: {fov: 1 um}, by: beam}]", "the first level is reached by the stage"),
    ],
    ids=["no image", "no search", "nothing", "beam"],
)
def test_levels_that_make_no_sense_are_refused(levels, told):
    text = f"policy: {{area: {{x: [0 um, 1 um], y: [0 um, 1 um]}}, levels: {levels}}}\n"
    with pytest.raises(ConfigError, match=told):
        Document(text, "x").validate(LevelsPolicy.Config, ("policy",))


def test_a_grid_has_squares_of_every_kind_in_the_shares_asked_for():
    specimen = build_specimen(GridConfig(), rng=np.random.default_rng(5), voltage_v=2e5)
    state = specimen.truth()["square_state"]
    shares = {name: float(np.mean(state == name)) for name in STATES}
    assert len(state) > 700
    assert shares == pytest.approx({"intact": 0.65, "empty": 0.1, "broken": 0.15, "blocked": 0.1}, abs=0.04)
