"""The short reports: Markdown with its pictures, and PDF; read back by others' readers."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader
from typer.testing import CliRunner

from autoscope.cli.app import app
from autoscope.journal import JournalReader
from autoscope.report import FOLLOW_UP, write
from autoscope.report.brief import brief
from autoscope.report.chronicle import chronicle
from autoscope.report.markdown import _plain, markdown
from autoscope.report.pdf import pdf
from autoscope.report.reading import read


@pytest.fixture(scope="module")
def told(surveyed):
    story = read(surveyed)
    return story, brief(story, JournalReader.open(surveyed).load_frame)


def test_markdown_tells_every_find_and_event_and_links_pictures_that_are_there(told):
    story, short = told
    text, pictures = markdown(short, story.clock)
    assert len(short.finds) > 3
    for ranked in short.finds:
        assert f"### {ranked.find.rank}. {_plain(ranked.title)}" in text
    assert text.count("\n| ") >= len(chronicle(story))
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert sorted(linked) == sorted(pictures)
    for data in pictures.values():
        assert np.asarray(Image.open(io.BytesIO(data))).std() > 1.0


def test_no_text_of_the_record_is_markup_in_markdown():
    assert _plain("a | b\n# c <script> [x](y) `z`") == "a \\| b \\# c \\<script\\> \\[x\\](y) \\`z\\`"


def test_pdf_says_what_was_found_where_the_night_went_and_what_is_next(told):
    story, short = told
    reader = PdfReader(io.BytesIO(pdf(short, story.clock)))
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    for wanted in (
        short.head.name,
        short.finds[0].title,
        "The night in order",
        "What to look at next",
        short.head_hash,
    ):
        assert wanted in text
    assert sum(len(page.images) for page in reader.pages) == 1 + sum(r.plate is not None for r in short.finds)


def test_the_same_run_gives_the_same_bytes(told):
    story, short = told
    assert pdf(short, story.clock) == pdf(short, story.clock)


def test_markup_in_names_does_not_break_the_pdf(night):
    folder = night(name="a<b>&c", sample="</para><b>").survey().end()
    assert write(folder, "pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("form", ["html", "markdown", "pdf"])
def test_the_command_writes_each_form(night, form):
    folder = night().survey().end()
    done = CliRunner().invoke(app, ["report", str(folder), "--format", form])
    assert done.exit_code == 0, done.output
    assert (folder / FOLLOW_UP).exists() == (form == "html")
