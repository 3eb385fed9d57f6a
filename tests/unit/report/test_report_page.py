"""The page as a whole: one file, nothing from outside, everything escaped, every kind of run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser

import pytest

from autoscope.errors import DataError, JournalError
from autoscope.journal import JournalReader
from autoscope.records import Action, MoveStage, Scan, SetOptics, Wait
from autoscope.report import write
from tests.tampering import tamper

VOID = {"meta", "link", "br", "img", "input", "hr", "image", "path", "rect", "circle"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects what a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.loads += [v for n, v in attrs if n in ("src", "href", "srcset", "data", "action") and tag != "a"]
        self.anchors += [v for n, v in attrs if n == "href" and tag == "a"]
        self.ids += [v for n, v in attrs if n == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def html(surveyed) -> str:
    return write(surveyed).read_text(encoding="utf-8")


def data_of(html: str) -> dict:
    return json.loads(html.split('id="map-data">')[1].split("</script>")[0])


def test_report_is_written_into_the_run_folder_and_its_path_returned(surveyed):
    assert write(surveyed) == surveyed / "report" / "index.html"
    assert sorted(p.name for p in (surveyed / "report").iterdir()) == ["follow_up.yaml", "index.html"]


def test_writing_again_gives_the_same_bytes(surveyed):
    assert write(surveyed).read_bytes() == write(surveyed).read_bytes()


def test_writing_the_report_leaves_the_record_alone(surveyed):
    before = {p: p.read_bytes() for p in surveyed.rglob("*") if p.is_file() and "report" not in p.parts}
    write(surveyed)
    assert {p: p.read_bytes() for p in before} == before


def test_page_loads_nothing_from_outside(html):
    page = Page(html)
    assert page.open == []
    assert page.loads
    assert all(v.startswith("data:image/") for v in page.loads)
    assert "@import" not in html
    assert not re.search(r"url\((?!data:)", html)


def test_page_forbids_itself_all_scripts_but_its_own(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy.replace("&#39;", "'")
    assert "default-src 'none'" in policy.replace("&#39;", "'")


def test_every_link_inside_the_page_leads_somewhere(html):
    page, steps = Page(html), data_of(html)["step"]
    targets = set(page.ids) | {f"point-{s}" for s in steps}
    assert len(page.ids) == len(set(page.ids))
    assert {a.removeprefix("#") for a in page.anchors} <= targets


def test_first_lines_name_the_best_find_and_how_it_ended(html):
    text = Page(html).text
    data = data_of(html)
    best = max(range(len(data["step"])), key=lambda i: data["targets"][0]["value"][i])
    assert f"at {data['name'][best]}" in text
    assert "Completed: all done: 9 of 9 tiles seen." in text
    assert "Pt/C, batch 7 · simulated STEM · policy survey · Ada · 14 March 2026, 20:30 to" in text


def test_all_eight_answers_are_on_the_page(html):
    text = Page(html).text
    for title in (
        "What was found", "Map of the survey", "What it cost", "What went wrong", "How the model did",
        "What to look at next", "Origin and proof", "Configuration of the run",
    ):  # fmt: skip
        assert title in text


def test_map_holds_every_measured_point_with_its_values(html, surveyed):
    data = data_of(html)
    steps = [s for s in JournalReader.open(surveyed).steps() if s.outcome.values]
    assert data["step"] == [s.index for s in steps]
    assert data["targets"][0]["value"] == pytest.approx([s.outcome.values[1].value for s in steps], rel=1e-5)
    x_um = [(s.outcome.state.x_m + s.decision.action.x_m) * 1e9 - data["centre"][0] for s in steps]
    assert data["x"] == pytest.approx(x_um, abs=0.01)
    assert html.count('<g id="points">') == 1


def test_map_without_script_shows_every_point_in_its_colour(html):
    still = re.search(r'<g id="points">(.*?)</g>', html)[1]
    casing, *coloured = re.findall(r'd="([^"]+)"', still)
    assert casing.count("M") == sum(d.count("M") for d in coloured) == len(data_of(html)["step"])


def test_provenance_names_the_last_hash_of_the_journal(html, surveyed):
    *_, last = JournalReader.open(surveyed).records()
    assert last.hash in html
    assert JournalReader.open(surveyed).started()["config_sha256"] in html
    assert "autoscope verify night" in Page(html).text


def test_tables_have_headers_and_images_have_descriptions(html):
    tables = re.findall(r"<table.*?</table>", html, re.DOTALL)
    assert len(tables) >= 5
    assert all('scope="col"' in t for t in tables)
    drawings = re.findall(r"<svg[^>]*>", html)
    assert drawings
    assert all('role="img"' in d and re.search(r'aria-label="[^"]{8,}"', d) for d in drawings)


EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "{{ 7*7 }}",
    "&lt;b&gt;",
    "'\"`\u2028",
)


@pytest.mark.parametrize("evil", EVIL)
def test_no_text_of_the_record_becomes_markup(night, evil):
    plain = Page(write(night("plain", tiles=1, visits=1).survey().trouble().end()).read_text(encoding="utf-8"))
    made = night("evil", tiles=1, visits=1)
    made.survey().trouble()
    made.act(Wait(duration_s=1.0), evil, evil, reason=evil)
    from autoscope.records import Fault, Intervention

    made.act(Wait(duration_s=1.0), "wait", fault=Fault(error=evil, message=evil), status="failed")
    made.journal.append(
        "intervention", Intervention(who=evil, when=evil, why=evil, command=evil, arguments={evil: evil})
    )
    made.journal.append("fault", {"error": evil, "message": evil})
    page = Page(write(made.end("stopped", evil)).read_text(encoding="utf-8"))
    assert page.open == []
    assert page.handlers == []
    assert page.tags.count("script") == plain.tags.count("script") == 2
    assert "img" not in page.tags
    assert re.sub(r"\s+", " ", evil).strip() in page.text


def test_names_in_the_header_and_configuration_stay_text(unbegun):
    evil = EVIL[2]
    made = unbegun(tiles=1, scouts=1, visits=0, sample=evil, name="x")
    config = {"name": evil, "scalarizers": {evil: {"options": {"band": [evil, evil]}}}, "policy": {"name": evil}}
    made.start(name=evil, operator=evil, version=evil, config=config, scalarizers={evil: evil}, config_sha256=evil,
               capabilities={"instrument": evil, "serial": evil})  # fmt: skip
    text = write(made.survey().end()).read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 2
    assert page.text.count(evil) > 6


def test_a_value_named_by_an_enemy_stays_text(night):
    from autoscope.records import Measure, Scalar

    evil = EVIL[1]
    made = night("value")
    value = Scalar(name=evil, value=1.0, std=0.1, unit=evil, scalarizer=evil)
    made.act(
        Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), "spectrum", evil, values=(value,), predicted_mean=1.0, predicted_std=0.1
    )
    page = Page(write(made.close()).read_text(encoding="utf-8"))
    assert "img" not in page.tags
    assert page.handlers == []


def test_a_run_still_going_is_reported_as_it_stands(night):
    made = night().survey()
    text = Page(write(made.folder).read_text(encoding="utf-8")).text
    assert "not ended" in text
    assert "still going, or it was cut off" in text


def test_a_run_that_failed_after_three_acts_says_why(night):
    made = night()
    made.go(0)
    made.focus(0)
    html = write(made.end("failed", "NotReached: the stage is stuck", safe=False)).read_text(encoding="utf-8")
    text = Page(html).text
    assert "Failed: NotReached: the stage is stuck." in text
    assert "not read back as blanked" in text
    assert "No value was measured in this run." in text


@pytest.mark.parametrize("started", [True, False])
def test_a_run_without_acts_has_a_report(unbegun, started):
    made = unbegun()
    if started:
        made.start()
    text = Page(write(made.close()).read_text(encoding="utf-8")).text
    assert "No act is recorded yet." in text


def test_a_run_of_images_only_has_a_map_and_no_finds(night):
    made = night()
    made.go(0)
    made.overview(0)
    html = write(made.end()).read_text(encoding="utf-8")
    assert 'id="mosaic"' in html
    assert "Nothing was measured, 1 image taken (2 acts)." in Page(html).text
    assert data_of(html)["step"] == []


def test_a_run_without_images_or_predictions_has_a_map_of_points(night):
    made = night(predicting=False)
    made.catalogue = {k: (0, k * 1e-8, 0.0, 1.0 + k) for k in range(5)}
    for k in range(5):
        made.spectrum(k, known=False)
    html = write(made.end()).read_text(encoding="utf-8")
    assert 'id="mosaic"' not in html
    assert len(data_of(html)["step"]) == 5
    assert "The policy made no predictions" in Page(html).text
    assert "no image of this place" in Page(html).text


def test_a_single_measurement_is_reported(night):
    made = night()
    made.go(0)
    made.overview(0)
    made.spectrum(0, known=True)
    assert "1 measurement of Pt" in Page(write(made.end()).read_text(encoding="utf-8")).text


def test_a_policy_of_settings_alone_is_reported(night):
    made = night()
    for action in (SetOptics(defocus_m=1e-7), MoveStage(z_m=1e-7), Wait(duration_s=2.0)):
        made.act(action, "focus") if not isinstance(action, MoveStage) else made.act(Wait(duration_s=1.0), "z")
    assert "Nothing was imaged or measured" in Page(write(made.end()).read_text(encoding="utf-8")).text


def test_frames_altered_afterwards_are_named_and_not_shown(night):
    made = night(tiles=1)
    folder = made.survey().end()
    tamper(folder, "UPDATE frames SET content = CAST(content || x'01' AS BLOB) WHERE name LIKE '%-EDS.npy'")
    text = Page(write(folder).read_text(encoding="utf-8")).text
    assert "needed here could not be trusted" in text
    assert "does not match its sha256" in text
    assert "no spectrum" in text


def test_a_record_altered_afterwards_is_warned_of_at_the_top(night):
    folder = night().survey().end()
    with closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as journal:
        journal.execute("UPDATE records SET time_s = time_s + 1 WHERE seq = 30")
    html = write(folder).read_text(encoding="utf-8")
    assert "cannot be trusted to its end" in Page(html.split("<main>")[0] + "</body></html>").text


def test_points_on_other_samples_are_counted_not_drawn(night):
    made = night()
    made.catalogue = {k: (0, k * 1e-8, 0.0, 1.0 + k) for k in range(5)}
    for k in range(4):
        if k == 3:
            made.state = made.state.replace(sample_slot=1)
        made.spectrum(k, known=False)
    html = write(made.end()).read_text(encoding="utf-8")
    assert len(data_of(html)["step"]) == 3
    assert "1 points on other samples" in Page(html).text or "1 point on other samples" in Page(html).text


def test_a_folder_without_journal_is_refused(tmp_path):
    with pytest.raises(JournalError, match="no journal"):
        write(tmp_path)


def test_a_place_that_cannot_be_written_is_named(night):
    folder = night().end()
    (folder / "report").write_text("a file where the folder belongs")
    with pytest.raises(DataError, match="cannot be written"):
        write(folder)


def test_a_rotated_overview_is_drawn_where_it_was_taken(night):
    made = night()
    made.go(0)
    made.catalogue[0] = (0, 3e-7, 1e-7, 2.0)
    frame = made.image(48, 1e-6, [(3e-7, 1e-7, 3e-8, 2.0)])
    import numpy as np

    from autoscope.records import Frame

    turned = Frame(frame.meta.replace(rotation_rad=np.pi / 2), np.rot90(frame.data, 1).copy())
    scan: Action = Scan(fov_m=1e-6, width_px=48, height_px=48, dwell_s=1e-6, rotation_rad=np.pi / 2)
    made.act(scan, "overview", "tile 0", frames=(turned,))
    made.spectrum(0, known=False)
    from autoscope.report.finds import finds
    from autoscope.report.pictures import Archive
    from autoscope.report.reading import read

    folder = made.end()
    find = finds(read(folder), "Pt", 1, Archive(JournalReader.open(folder).load_frame))[0]
    import io

    from PIL import Image

    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(find.crop.uri.split(",")[1]))).convert("L")).astype(float)
    row, column = np.unravel_index(crop.argmax(), crop.shape)
    assert abs(row - (len(crop) - 1) / 2) <= 2
    assert abs(column - (len(crop) - 1) / 2) <= 2


def test_only_the_finds_that_stand_out_are_told_as_standing_out(night):
    made = night(predicting=False)
    made.catalogue = {k: (0, k * 1e-8, 0.0, 0.3) for k in range(60)} | {60: (0, 7e-7, 0.0, 30.0)}
    for k in range(61):
        made.spectrum(k, known=False)
    html = write(made.end()).read_text(encoding="utf-8")
    assert "of which 1 stands out from the usual" in Page(html).text
    assert html.count('class="card usual"') == html.count("<article") - 1


def test_where_nothing_stands_out_nothing_is_said_of_it(night):
    made = night(predicting=False)
    made.catalogue = {k: (0, k * 1e-8, 0.0, 5.0) for k in range(30)}
    for k in range(30):
        made.spectrum(k, known=False)
    html = write(made.end()).read_text(encoding="utf-8")
    assert "stand out" not in Page(html).text
    assert "half of them above" in Page(html).text
    assert 'class="card usual"' not in html
