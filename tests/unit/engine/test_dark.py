"""Dark references through the engine: taken, subtracted, carried through resume, replay and retelling."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from autoscope.clock import SimClock
from autoscope.config import Document, LimitsConfig
from autoscope.engine.assemble import assemble, blank_state, resolve, scalarizers_of
from autoscope.engine.dark import Darks
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import replay
from autoscope.engine.retelling import retell
from autoscope.engine.standing import Standing
from autoscope.errors import ConfigError, FrameRejected, Unsupported
from autoscope.exposure import predict
from autoscope.guard import Guard
from autoscope.journal import Journal, JournalReader
from autoscope.perception.scalarizers import BandIntegral
from autoscope.records import Act, Blank, Budget, Measure, Scan, Wait
from autoscope.registry import load
from autoscope.testing.disk import CarelessDisk
from tests.fault.killing import history
from tests.unit.engine.test_checkpoints import careless, cut, resumed
from tests.unit.policies.test_survey_run import NIGHT

__all__ = ["careless"]
BIASED = [
    {"name": "EDS", "pedestal": 60, "pattern": 5, "ramp_per_hour": 20, "walk_per_hour": 2, "current_per_second": 2}
    | {"hot_channels": 12, "hot_per_second": 300, "readout": 2},
    {"name": "HAADF", "ramp_per_hour": 30},
]
CHANGES = {
    "environment.options.microscope.dark_signals": BIASED,
    "policy.options.upkeep": [{"kind": "dark_reference", "every": "15 s", "frames": 6, "dwells": ["0.5 s", "2 s"]}],
    "policy.options.dwell": "1 s",
    "budget": {"steps": 48},
    "engine.checkpoint_every": 9,
}


def document(**changes):
    made = Document(NIGHT, "night.yaml")
    for key, value in (CHANGES | {k.replace("__", "."): v for k, v in changes.items()}).items():
        made.override(f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}")
    return made


def microscope(*, faults=None, specimen=None, dark=BIASED):
    simulated = load("instruments", "simulated")
    still = {"load": "0 nm", "ramp_x": "0 m/s", "ramp_y": "0 m/s", "walk_per_minute": "0 nm"}
    plain = {"dark_signals": dark, "drift": still} | ({"faults": {"events": faults}} if faults else {})
    plain |= {"specimens": [specimen]} if specimen else {}
    config = Document(yaml.safe_dump({"options": plain}), "scope").validate(simulated.Config, ("options",))
    return simulated(config, clock=SimClock(), rng=np.random.default_rng(3))


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Return a short run and the frames that its policy was told, by act."""
    folder, told = tmp_path_factory.mktemp("dark") / "run", {}
    resolved, clock = resolve(document()), SimClock()
    job = assemble(resolved, clock)
    tell = job.policy.tell

    def listen(decision, result):
        told[result.outcome.act_id] = result.frames
        tell(decision, result)

    job.policy.tell = listen
    plain = yaml.safe_dump(resolved.plain(), sort_keys=False)
    Engine(job, Journal.create(folder, clock=clock, config=plain, disk=CarelessDisk()), run_id="run").run()
    return folder, told


def acts(folder):
    return [(past.intent.decision, outcome) for past, outcome in read_history(JournalReader.open(folder)).outcomes()]


def test_the_record_keeps_what_was_recorded_and_tells_what_was_subtracted(night):
    folder, told = night
    reader, done = JournalReader.open(folder), acts(folder)
    dark = [outcome for decision, outcome in done if decision.purpose == "dark_reference"]
    spectra = [outcome for decision, outcome in done if decision.purpose == "spectrum"]
    assert len(dark) >= 6
    assert len(spectra) >= 8
    assert all(o.status == "done" and o.dose_e == 0.0 and o.values == () and o.dark == {} for o in dark)
    taken = {o.act_id for o in dark}
    for outcome in spectra:
        assert len(outcome.dark["EDS"]) == 2  # of 0.5 s and of 2 s: the spectrum took 1 s
        assert set(outcome.dark["EDS"]) <= taken
        raw, seen = reader.load_frame(outcome.frames[0]), told[outcome.act_id][0]
        assert (raw.data.dtype, seen.data.dtype) == (np.uint32, np.float32)
        assert raw.data.mean() > 60
        assert abs(np.median(seen.data)) < 2.0
        assert outcome.quality["EDS.mean"] == pytest.approx(float(seen.data.mean()), abs=1e-3)
    assert len({ids for o in spectra for ids in o.dark.values()}) >= 2  # later spectra have later references


def test_what_is_read_from_the_disk_is_what_was_told_to_the_bit(night):
    folder, told = night
    reader = JournalReader.open(folder)
    source = Stored(reader)
    for past, outcome in read_history(reader).outcomes():
        for live, again in zip(told[outcome.act_id], source.result(past, outcome).frames, strict=True):
            assert live == again
            assert live.data.tobytes() == again.data.tobytes()
            assert (live.dark_variance is None) == (again.dark_variance is None)
            if live.dark_variance is not None:
                assert live.dark_variance.tobytes() == again.dark_variance.tobytes()


def test_a_replay_makes_the_same_decisions_and_comes_to_the_same_states(night):
    folder, _ = night
    reader = JournalReader.open(folder)
    found = replay(read_history(reader), assemble(resolve(document())).policy, Stored(reader))
    assert found.ok
    assert found.checkpoints == found.same_state > 0


def test_told_again_with_targets_computed_anew_it_learns_the_same_values(night):
    folder, _ = night
    reader = JournalReader.open(folder)
    past, heard = read_history(reader), {}
    policy = assemble(resolve(document())).policy
    blank, tell = blank_state(policy), policy.tell

    def listen(decision, result):
        heard[result.outcome.act_id] = result.outcome
        tell(decision, result)

    policy.tell = listen
    retell(policy, blank, past.outcomes(), Stored(reader), Standing(), scalarizers_of(past.config, {}))
    for _, outcome in past.outcomes():
        assert heard[outcome.act_id].values == outcome.values


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize("from_beginning", [False, True])
def test_killed_and_resumed_it_is_the_undisturbed_run_to_the_bit(night, tmp_path, from_beginning):
    folder, _ = night
    again = cut(folder, tmp_path / "again", 40)
    assert (resumed(again, from_beginning=from_beginning)["checkpoint"] > 0) is not from_beginning
    assert history(again) == history(folder)


# --- a biased detector ------------------------------------------------------------------------------


def order(values):
    return np.argsort(np.argsort(values))


def test_a_pedestal_that_drifts_over_hours_breaks_a_ranking_by_an_element_and_not_less_its_dark_references():
    scope = microscope(
        specimen={"kind": "catalyst", "extent": ["2 um", "2 um"], "density": "40 um^-2"}, dark=BIASED[:1]
    )
    plain = Document(yaml.safe_dump({"options": {"band": ["1.85 keV", "2.30 keV"]}}), "platinum")
    platinum = BandIntegral(plain.validate(BandIntegral.Config, ("options",)))
    rng, darks = np.random.default_rng(8), Darks()
    everywhere = rng.uniform(-0.4e-6, 0.4e-6, (2000, 2))
    truth = scope.expected("EDS", everywhere, 2.0)
    there = platinum.map_scalar(truth.data[None], truth.meta.axes[1])[0][0]
    shown = rng.permutation(np.argsort(-there)[np.linspace(0, np.count_nonzero(there > 20.0) - 1, 40).astype(int)])
    wanted = there[shown]
    dark = Measure(x_m=0.0, y_m=0.0, dwell_s=2.0, signals=("EDS",), dark_frames=16)
    raw, left = [], []
    for k, (x_m, y_m) in enumerate(everywhere[shown]):
        if k % 3 == 0:
            act = Act(act_id=f"dark {k}", action=dark)
            darks.take(act, scope.execute(act))
        scope.execute(Act(act_id=f"wait {k}", action=Wait(duration_s=240.0)))
        (frame,) = scope.execute(Act(act_id=f"{k}", action=dark.replace(x_m=x_m, y_m=y_m, dark_frames=0))).frames
        raw.append(platinum.scalarize(frame, "pt"))
        left.append(platinum.scalarize(darks.less(frame, darks.ids(frame)), "pt"))
    best = set(np.argsort(wanted)[-10:])
    agreement = [np.corrcoef(order([s.value for s in v]), order(wanted))[0, 1] for v in (raw, left)]
    hits = [len(best & set(np.argsort([s.value for s in v])[-10:])) for v in (raw, left)]
    assert agreement[0] < 0.8 < 0.9 < agreement[1]
    assert hits[0] < hits[1]


# --- which reference, and whether it is one ---------------------------------------------------------

DARK = Measure(x_m=0.0, y_m=0.0, dwell_s=1.0, signals=("EDS",), dark_frames=6)
SMALL = Scan(fov_m=1e-7, width_px=16, height_px=16, dwell_s=1e-5, detectors=("HAADF", "BF"), dark_frames=3)


def taken(darks, scope, name, action=DARK):
    act = Act(act_id=name, action=action)
    seen = scope.execute(act)
    darks.take(act, seen)
    return seen


def spectrum(scope, dwell_s, name):
    return scope.execute(Act(act_id=name, action=DARK.replace(dwell_s=dwell_s, dark_frames=0))).frames[0]


def test_a_frame_gets_the_newest_reference_of_its_dwell_else_the_line_between_two_else_is_refused():
    scope, darks = microscope(), Darks()
    assert darks.ids(spectrum(scope, 1.0, "a")) == ()  # nothing is known without beam: as it was recorded
    taken(darks, scope, "one")
    assert darks.ids(spectrum(scope, 1.0, "b")) == ("one",)
    with pytest.raises(FrameRejected, match="no dark reference fits the dwell") as caught:
        darks.ids(spectrum(scope, 2.0, "c"))
    assert "1 s" in str(caught.value)
    taken(darks, scope, "four", DARK.replace(dwell_s=4.0))
    taken(darks, scope, "newer")
    assert darks.ids(spectrum(scope, 1.0, "d")) == ("newer",)
    assert darks.ids(spectrum(scope, 2.0, "e")) == ("newer", "four")
    with pytest.raises(FrameRejected, match="no dark reference fits"):
        darks.ids(spectrum(scope, 5.0, "f"))


def test_readings_of_an_image_detector_at_a_point_get_the_reference_of_its_images():
    scope, darks = microscope(), Darks()
    taken(darks, scope, "images", SMALL)
    action = DARK.replace(dwell_s=4.0, dark_frames=0, detectors=("HAADF",))
    readings = next(f for f in scope.execute(Act(act_id="a", action=action)).frames if f.meta.signal == "HAADF")
    assert darks.ids(readings) == ("images",)
    left = darks.less(readings, ("images",))
    assert left.data.shape == readings.data.shape
    assert float((readings.data - left.data).mean()) == pytest.approx(20.0, abs=0.5)
    with pytest.raises(ValidationError, match="with a scan"):
        DARK.replace(detectors=("HAADF",))


STUCK = [{"kind": "blanker", "at": "10 s", "lasts": "1 h"}]


def test_with_a_blanker_that_stays_open_the_reference_is_refused_and_the_old_one_kept():
    scope, darks = microscope(faults=STUCK, specimen={"kind": "catalyst"}), Darks()
    taken(darks, scope, "good", SMALL)
    scope.execute(Act(act_id="wait", action=Wait(duration_s=20.0)))
    act = Act(act_id="bright", action=SMALL)
    seen = scope.execute(act)
    assert seen.state.blanked
    with pytest.raises(FrameRejected, match="electrons reached the sample"):
        darks.take(act, seen)
    uncounted = replace(seen, state=seen.state.replace(dose_e=seen.state_before.dose_e))  # a column that counts none
    with pytest.raises(FrameRejected, match="the beam was not kept away") as caught:
        darks.take(act, uncounted)
    assert "reference before stays in use" in str(caught.value)
    assert darks.ids(seen.frames[0]) == ("good",)


def test_frames_that_are_missing_make_no_reference():
    scope = microscope()
    act = Act(act_id="few", action=DARK)
    seen = scope.execute(act)
    with pytest.raises(FrameRejected, match="not as many dark frames"):
        Darks().take(act, replace(seen, frames=seen.frames[1:]))


@pytest.mark.parametrize("action", [DARK, SMALL])
@pytest.mark.parametrize("blanked", [True, False])
def test_dark_frames_cost_time_and_no_electrons_and_leave_the_beam_as_it_was(action, blanked):
    scope = microscope()
    scope.execute(Act(act_id="beam", action=Blank(blanked=blanked)))
    state = scope.state()
    guard = Guard(LimitsConfig(max_dose_e_per_m2=1.0), scope.describe(), saturated_fraction=0.01)
    cost = guard.permit(action, state, Budget(dose_e=0.5))
    seen = scope.execute(Act(act_id="dark", action=action))
    assert (cost.dose_e, seen.dose_e, seen.state.blanked) == (0.0, 0.0, blanked)
    assert seen.state.time_s - state.time_s == pytest.approx(cost.time_s)
    assert len(seen.frames) == action.dark_frames * (1 if action is DARK else 2)
    assert predict(action, state, scope.describe()) == cost


def test_a_black_image_is_refused_of_the_sample_and_not_without_beam():
    scope = microscope()
    guard = Guard(LimitsConfig(), scope.describe(), saturated_fraction=0.01)
    (frame, *_) = scope.execute(Act(act_id="dark", action=SMALL)).frames
    black = replace(frame, data=np.zeros_like(frame.data))
    guard.check(black, SMALL)
    with pytest.raises(FrameRejected, match="zeros"):
        guard.check(black, SMALL.replace(dark_frames=0))


def test_negative_raw_counts_are_refused_as_ever():
    scope = microscope()
    guard = Guard(LimitsConfig(), scope.describe(), saturated_fraction=0.01)
    frame = spectrum(scope, 1.0, "a")
    with pytest.raises(FrameRejected, match="negative counts"):
        guard.check(replace(frame, data=frame.data.astype(np.float32) - 500.0), DARK.replace(dark_frames=0))


def test_an_instrument_that_cannot_keep_the_beam_away_is_not_asked_to():
    can = microscope().describe().replace(dark=False)
    with pytest.raises(Unsupported, match="cannot keep the beam away"):
        Guard(LimitsConfig(), can, saturated_fraction=0.01).permit(DARK, microscope().state(), Budget())


@pytest.mark.parametrize("names", [["EELS_2"], ["EDS", "EDS"]])
def test_a_dark_signal_is_of_a_detector_that_there_is_and_of_each_once(names):
    with pytest.raises(ConfigError, match="dark_signals"):
        microscope(dark=[{"name": name} for name in names])
