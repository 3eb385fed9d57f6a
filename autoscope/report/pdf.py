"""The report in short as PDF: to print, to file, to send."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    Image,
    KeepTogether,
    Paragraph,
    Preformatted,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from autoscope.report import wording
from autoscope.report.brief import Brief, Ranked, png_size
from autoscope.report.story import RunClock

WIDTH = A4[0] - 36 * mm
SOFT, LINE = colors.HexColor("#59636e"), colors.HexColor("#dcdfe2")
FACES = {"Report": "DejaVuSans.ttf", "Report-Bold": "DejaVuSans-Bold.ttf", "Report-Mono": "DejaVuSansMono.ttf"}
"""Fonts that have every sign the report writes; matplotlib brings them."""


def pdf(told: Brief, clock: RunClock) -> bytes:
    """Return the document; the same brief gives the same bytes."""
    styles, buffer = _styles(), io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        topMargin=16 * mm,
        bottomMargin=16 * mm,
        title=f"{told.head.name}: morning report",
        author="autoscope",
        invariant=1,
    )
    parts = [*_head(told, styles), *_finds(told, styles), *_map(told, styles), *_night(told, clock, styles)]
    parts += [*_cost(told, styles), *_model(told, styles), *_next(told, styles), *_origin(told, styles)]
    document.build(parts, onFirstPage=_numbered, onLaterPages=_numbered)
    return buffer.getvalue()


def _styles() -> dict[str, ParagraphStyle]:
    from matplotlib import get_data_path

    for name, file in FACES.items():
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, f"{get_data_path()}/fonts/ttf/{file}"))
    base = getSampleStyleSheet()["Normal"]
    text = ParagraphStyle("text", base, fontName="Report", fontSize=8.5, leading=11.5)
    return {
        "text": text,
        "cell": ParagraphStyle("cell", text, fontSize=7, leading=9),
        "soft": ParagraphStyle("soft", text, textColor=SOFT, fontSize=7.5, leading=10),
        "strong": ParagraphStyle("strong", text, fontName="Report-Bold"),
        "warning": ParagraphStyle("warning", text, fontName="Report-Bold", textColor=colors.HexColor("#b3261e")),
        "h1": ParagraphStyle("h1", text, fontName="Report-Bold", fontSize=17, leading=21, spaceAfter=3),
        "h2": ParagraphStyle(
            "h2", text, fontName="Report-Bold", fontSize=11.5, leading=15, spaceBefore=9, spaceAfter=4
        ),
        "code": ParagraphStyle("code", text, fontName="Report-Mono", fontSize=5.4, leading=6.8),
    }


def _numbered(canvas: Any, document: Any) -> None:
    canvas.setFont("Report", 7)
    canvas.setFillColor(SOFT)
    canvas.drawRightString(A4[0] - 18 * mm, 9 * mm, str(document.page))


def _says(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(text), style)


def _head(told: Brief, styles: dict[str, ParagraphStyle]) -> list[Any]:
    head = told.head
    figures = [[_says(name, styles["soft"]) for name, _ in head.figures]]
    figures += [[_says(value, styles["strong"]) for _, value in head.figures]]
    warnings = [_says(warning, styles["warning"]) for warning in head.warnings]
    return [
        _says(head.name, styles["h1"]),
        _says(head.sample, styles["soft"]),
        *warnings,
        Spacer(1, 6),
        _says(head.found, styles["strong"]),
        _says(head.ended, styles["text"]),
        Spacer(1, 6),
        Table(figures, colWidths=[WIDTH / len(head.figures)] * len(head.figures)),
    ]


def _finds(told: Brief, styles: dict[str, ParagraphStyle]) -> list[Any]:
    if not told.finds:
        return []
    return [_says(f"Finds, by {told.target}", styles["h2"]), *(_find(r, styles) for r in told.finds)]


def _find(ranked: Ranked, styles: dict[str, ParagraphStyle]) -> KeepTogether:
    expected = f"; expected {ranked.expected}" if ranked.expected else ""
    beside = f"; meanwhile {wording.beside(ranked.find.beside)}" if ranked.find.beside else ""
    usual = "" if ranked.find.stands_out else " (not beyond what is usual)"
    said = [
        _says(f"{ranked.find.rank}. {ranked.title}", styles["strong"]),
        _says(f"{ranked.value}{usual}{expected}{beside}", styles["text"]),
        _says(f"{ranked.place}; {ranked.when}", styles["soft"]),
        _says(ranked.reason, styles["soft"]),
    ]
    picture = "" if ranked.plate is None else _picture(ranked.plate, 92 * mm)
    table = Table([[said, picture]], colWidths=[WIDTH - 96 * mm, 96 * mm])
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE)]))
    return KeepTogether(table)


def _picture(data: bytes, width: float) -> Image:
    across, down = png_size(data)
    return Image(io.BytesIO(data), width=width, height=width * down / across)


def _map(told: Brief, styles: dict[str, ParagraphStyle]) -> list[Any]:
    if told.map_plate is None:
        return []
    return [KeepTogether([_says("Map", styles["h2"]), _picture(told.map_plate, 0.8 * WIDTH)])]


def _table(rows: Sequence[Sequence[str]], widths: Sequence[float], styles: dict[str, ParagraphStyle]) -> Table:
    cells = [[_says(text, styles["soft" if k == 0 else "cell"]) for text in row] for k, row in enumerate(rows)]
    table = Table(cells, colWidths=[share * WIDTH for share in widths], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, -1), 0.3, LINE),
                ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ]
        )
    )
    return table


def _night(told: Brief, clock: RunClock, styles: dict[str, ParagraphStyle]) -> list[Any]:
    title = _says("The night in order", styles["h2"])
    if not told.events:
        return [title, _says("Nothing went wrong.", styles["text"])]
    rows = [["When", "What happened", "What was done about it"]]
    rows += [[clock.at(e.begun_s), e.what, e.done] for e in told.events]
    left = [_says(f"{told.events_left_out} later events are in the record only.", styles["soft"])]
    return [title, _table(rows, (0.1, 0.58, 0.32), styles), *(left if told.events_left_out else [])]


def _cost(told: Brief, styles: dict[str, ParagraphStyle]) -> list[Any]:
    rows = [["Purpose", "Acts", "Time", "Electrons", "Data"]]
    rows += [
        [c.purpose, str(c.acts), wording.duration(c.time_s), wording.plain(c.dose_e), wording.size(c.bytes)]
        for c in told.costs
    ]
    return [_says("Cost", styles["h2"]), _table(rows, (0.3, 0.14, 0.2, 0.18, 0.18), styles)]


def _model(told: Brief, styles: dict[str, ParagraphStyle]) -> list[Any]:
    if told.foresight is None:
        return []
    f, told_f = told.foresight.figures, told.foresight
    held = ", ".join(f"{wording.percent(level)} held {wording.percent(share)}" for level, share in told_f.covered)
    text = (
        f"{f.n} predictions were made before their measurement. Of the intervals, {held}. Errors in standard "
        f"deviations: mean {f.mean_z:.2f}, std {f.std_z:.2f}; rank correlation {told_f.correlation:.2f}."
    )
    return [_says("How the model did", styles["h2"]), _says(text, styles["text"])]


def _next(told: Brief, styles: dict[str, ParagraphStyle]) -> list[Any]:
    if not told.next:
        return []
    rows = [["Do", "At", "Why", "From"]]
    rows += [[s.what, wording.place(s.x_m, s.y_m), s.expected, s.label] for s in told.next]
    hint = "follow_up.yaml in the same folder visits these places: autoscope check follow_up.yaml, then autoscope run."
    table = _table(rows, (0.16, 0.28, 0.34, 0.22), styles)
    return [_says("What to look at next", styles["h2"]), table, _says(hint, styles["soft"])]


def _origin(told: Brief, styles: dict[str, ParagraphStyle]) -> list[Any]:
    proof = (
        f"Run {told.folder}; last record {told.head_hash or 'none'}. autoscope verify proves that nothing was altered."
    )
    config = [Preformatted(told.config, styles["code"], maxLineLength=150)] if told.config else []
    return [_says("Origin and proof", styles["h2"]), _says(proof, styles["soft"]), Spacer(1, 4), *config]
