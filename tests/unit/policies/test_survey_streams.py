"""All streams of a survey together: several signals in one act, each recorded, scalarized and shown in the report."""

import pytest

from autoscope.engine.loop import Engine
from autoscope.journal import Journal, JournalReader
from autoscope.report.finds import finds
from autoscope.report.pictures import Archive
from autoscope.report.reading import read
from tests.unit.policies.test_survey_run import assembled, run

SIGNALS = ("EDS", "EELS", "EELS_CORE")
SCALARIZERS = {
    "co_k": {"name": "band_integral", "options": {"signal": "EDS", "band": ["6.80 keV", "7.06 keV"]}},
    "pt_m": {"name": "band_integral", "options": {"signal": "EDS", "band": ["1.85 keV", "2.30 keV"]}},
    "co_l": {"name": "edge", "options": {"signal": "EELS_CORE", "background": ["690 eV", "770 eV"],
                                         "band": ["779 eV", "850 eV"]}},
    "plasmon": {"name": "centre_of_mass", "options": {"signal": "EELS", "band": ["10 eV", "35 eV"]}},
}  # fmt: skip


def streams():
    return assembled(policy__options__signals=list(SIGNALS), scalarizers=SCALARIZERS, budget__time="45 s")


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
        assert tuple(ref.meta.signal for ref in s.outcome.frames) == SIGNALS
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
