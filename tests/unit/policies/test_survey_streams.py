"""All streams of a survey together: several signals in one act, each recorded, scalarized and shown in the report."""

import pytest

from autoscope.engine.loop import Engine
from autoscope.journal import Journal, JournalReader
from autoscope.report.finds import finds
from autoscope.report.page import render
from autoscope.report.pictures import Archive
from autoscope.report.reading import read
from tests.unit.policies.test_survey_run import assembled, run

SIGNALS = ("EDS", "EELS", "EELS_CORE")
BESIDE = ("HAADF", "BF")
SCALARIZERS = {
    "co_k": {"name": "band_integral", "options": {"signal": "EDS", "band": ["6.80 keV", "7.06 keV"]}},
    "pt_m": {"name": "band_integral", "options": {"signal": "EDS", "band": ["1.85 keV", "2.30 keV"]}},
    "co_l": {"name": "edge", "options": {"signal": "EELS_CORE", "background": ["690 eV", "770 eV"],
                                         "band": ["779 eV", "850 eV"]}},
    "plasmon": {"name": "centre_of_mass", "options": {"signal": "EELS", "band": ["10 eV", "35 eV"]}},
    "thickness": {"name": "detector_reading", "options": {"signal": "HAADF"}},
}  # fmt: skip


def streams():
    return assembled(
        policy__options__signals=list(SIGNALS),
        policy__options__point_detectors=list(BESIDE),
        scalarizers=SCALARIZERS,
        budget__time="45 s",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    job, at = streams(), tmp_path_factory.mktemp("runs") / "streams"
    journal = Journal.create(at, clock=job.clock)
    Engine(job, journal).run()
    journal.close()
    return at


def test_one_act_records_every_signal_and_each_gives_its_values():
    _, steps, _ = run(streams())
    spectra = [s for s in steps if s.decision.purpose == "spectrum"]
    assert len(spectra) > 5
    for s in spectra:
        assert tuple(ref.meta.signal for ref in s.outcome.frames) == SIGNALS + BESIDE
        assert {v.name for v in s.outcome.values} == set(SCALARIZERS)
    images = [s for s in steps if s.decision.purpose == "overview"]
    assert all(tuple(ref.meta.signal for ref in s.outcome.frames) == ("HAADF", "BF") for s in images)


def test_the_report_shows_all_of_them_for_each_find_with_their_bands(folder):
    story = read(folder)
    best = finds(story, "co_k", 3, Archive(JournalReader.open(folder).load_frame))
    for find in best:
        assert find.spectrum.signal == "EDS"
        assert [other.signal for other in find.others] == ["EELS", "EELS_CORE"]
        core = find.others[1]
        assert sorted((b.low, b.high, b.background) for b in core.bands) == [
            (690.0, 770.0, True),
            (779.0, 850.0, False),
        ]
    (of_edge, *_) = finds(story, "co_l", 1, Archive(JournalReader.open(folder).load_frame))
    assert of_edge.spectrum.signal == "EELS_CORE"


def test_what_image_detectors_read_in_the_same_dwell_is_kept_with_the_spectrum_and_in_the_report(folder):
    story = read(folder)
    (best, *_) = finds(story, "co_k", 3, Archive(JournalReader.open(folder).load_frame))
    assert [reading.name for reading in best.beside] == list(BESIDE)
    thickness = best.measurement.reading("thickness")
    assert best.beside[0].value == pytest.approx(thickness.value)
    assert best.beside[0].std == pytest.approx(thickness.std)
    assert [ref.meta.signal for ref in best.measurement.spectra] == list(SIGNALS)
    assert "meanwhile" in render(story, JournalReader.open(folder).load_frame)


def test_without_asking_for_them_the_spectrum_is_the_same():
    quiet = assembled(policy__options__signals=list(SIGNALS), scalarizers=SCALARIZERS, budget__time="20 s")
    first, alone = (next(s for s in run(job)[1] if s.decision.purpose == "spectrum") for job in (streams(), quiet))
    told = [[(ref.meta.signal, ref.sha256) for ref in s.outcome.frames] for s in (first, alone)]
    assert told[0][: len(SIGNALS)] == told[1]
