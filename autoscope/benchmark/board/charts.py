"""Drawings of a leaderboard as SVG text: learning curves, critical differences, performance profiles, trajectories.

Colours of axes and text are the page's own, so that the drawings follow its light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from autoscope.benchmark.board.results import Run
from autoscope.benchmark.metrics import best_so_far
from autoscope.benchmark.ranking import Ranking
from autoscope.benchmark.trace import Array, Truth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999933", "#ee8866", "#44bb99", "#777777")
DASHES = ("-", "--", ":", "-.")
INK, GRID = "#010203", "#030201"
"""Stand for the page's own colours until the drawing is text."""


def style(policies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and dashes of each policy, the same in every drawing."""
    return {
        policy: {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k // len(COLOURS) % len(DASHES)]}
        for k, policy in enumerate(policies)
    }


def learning_curves(runs: Sequence[Run], truths: Mapping[str, Truth], policies: Sequence[str]) -> str:
    """Return the mean best true value found by each measurement, with pointwise 95 % intervals over seeds."""
    styles = style(policies)
    figure, ((axes,),) = _figure(7.2, 3.6)
    for policy in policies:
        curves = [best_so_far(run.trace, truths[run.truth]) for run in runs if run.policy == policy and len(run.trace)]
        if not curves:
            continue
        length = min(len(curve) for curve in curves)
        table = np.array([curve[:length] for curve in curves])
        n, mean = np.arange(1, length + 1), table.mean(axis=0)
        axes.plot(n, mean, label=policy, linewidth=1.6, **styles[policy])
        if len(curves) > 1:
            half = stats.t.ppf(0.975, len(curves) - 1) * table.std(axis=0, ddof=1) / np.sqrt(len(curves))
            axes.fill_between(
                n,
                np.clip(mean - half, 0, 1),
                np.clip(mean + half, 0, 1),
                color=styles[policy]["color"],
                alpha=0.14,
                linewidth=0,
            )
    axes.set(xlabel="measurements", ylabel="best found (0 lowest, 1 highest)", ylim=(0.0, 1.02))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, labelcolor=INK)
    return _svg(figure, "Learning curves: mean best true value found against measurements")


def critical_difference_diagram(ranking: Ranking) -> str:
    """Return average ranks on a line, with bars over policies that cannot be told apart (Demšar 2006)."""
    count = len(ranking.policies)
    rows = (count + 1) // 2
    figure, ((axes,),) = _figure(7.2, 1.0 + 0.24 * (rows + len(ranking.groups)))
    axes.axis("off")
    bars = 0.35 * len(ranking.groups)
    axes.set(xlim=(1 - 0.55 * count, 0.55 * count + count), ylim=(-bars - 0.62 * rows - 0.3, 1.3))
    axes.plot([1, count], [0, 0], color=INK, linewidth=1)
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, 0.14], color=INK, linewidth=1)
        axes.text(tick, 0.22, str(tick), ha="center", va="bottom", color=INK)
    for k, (first, last) in enumerate(ranking.groups):
        y = -0.25 - 0.35 * k
        ends = [ranking.ranks[first] - 0.04, ranking.ranks[last] + 0.04]
        axes.plot(ends, [y, y], color=INK, linewidth=3.2, solid_capstyle="butt")
    for k, (policy, at) in enumerate(zip(ranking.policies, ranking.ranks, strict=True)):
        left = k < rows
        y = -bars - 0.5 - 0.62 * (k if left else count - 1 - k)
        edge = 0.8 if left else count + 0.2
        axes.plot([at, at, edge], [0, y, y], color=GRID, linewidth=0.9)
        text = f"{policy}  {at:.2f}" if left else f"{at:.2f}  {policy}"
        axes.text(edge - 0.06 if left else edge + 0.06, y, text, ha="right" if left else "left", va="center", color=INK)
    axes.plot([1, 1 + min(ranking.critical, count - 1)], [0.95, 0.95], color=INK, linewidth=1.4)
    axes.text(1, 1.02, f"Nemenyi's critical difference {ranking.critical:.2f}", va="bottom", color=INK, fontsize=8)
    return _svg(figure, "Average ranks; bars join policies that cannot be told apart")


def profile_chart(at: Array, shares: Mapping[str, Array], policies: Sequence[str]) -> str:
    """Return the share of problems solved within a multiple of the best policy's cost (Dolan & Moré 2002)."""
    styles = style(policies)
    figure, ((axes,),) = _figure(7.2, 3.2)
    end = max(float(at[-1]) * 1.15, 2.0)
    for policy, share in shares.items():
        axes.step([*at, end], [*share, share[-1]], where="post", label=policy, linewidth=1.6, **styles[policy])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="times the cost of the best", ylabel="share of problems", ylim=(-0.02, 1.02), xlim=(1.0, end))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, labelcolor=INK)
    return _svg(figure, "Performance profile")


def trajectories(runs: Sequence[Run], truths: Mapping[str, Truth], policies: Sequence[str]) -> str:
    """Return where each policy measured in its first seed, over the truth: early places dark, late ones bright."""
    measured = {policy: [run for run in runs if run.policy == policy and len(run.trace)] for policy in policies}
    firsts = {policy: min(of, key=lambda run: run.repetition) for policy, of in measured.items() if of}
    columns = min(4, len(firsts))
    rows = -(-len(firsts) // columns)
    rows_px, columns_px = truths[next(iter(firsts.values())).truth].shape
    side = 7.6 / columns
    figure, grid = _figure(7.6, rows * (side * min(rows_px / columns_px, 1.5) + 0.3), rows, columns)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, (policy, run) in zip(grid.ravel(), firsts.items(), strict=False):
        truth = truths[run.truth]
        i, j = np.divmod(run.trace.chosen, truth.shape[1])
        axes.imshow(truth.values.reshape(truth.shape), cmap="gray", interpolation="nearest")
        axes.scatter(j, i, c=np.arange(len(i)), cmap="plasma", s=9, linewidths=0.3, edgecolors="white")
        axes.set_title(policy, fontsize=9, color=INK)
    return _svg(figure, "Where each policy measured, over the truth")


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for each in axes.ravel():
            each.grid(visible=True, color=GRID, linewidth=0.5)
            each.set_axisbelow(True)
            each.spines[["top", "right"]].set_visible(False)
    return figure, axes


_LOOK: Any = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
}


def _svg(figure: Figure, title: str) -> str:
    """Return a figure as SVG for a page: text stays text, no date, the same bytes each time."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context(_LOOK | {"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    tag, rest = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', tag)
    view = box[1] if box else "0 0 1 1"
    widest = 1.35 * float(view.split()[2])
    head = f'<svg class="chart" role="img" aria-label="{title}" style="max-width:{widest:.0f}px" viewBox="{view}"'
    return f'{head} xmlns:xlink="http://www.w3.org/1999/xlink">{rest}'
