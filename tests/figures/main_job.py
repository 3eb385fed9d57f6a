"""The figures of the main job: one command, a night, a report."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.figures.figure import Figure
from tests.figures.learning import ROOT, MapTask, measurements_to_level, median_with_interval
from tests.figures.nights import night

SEEDS = (1, 2, 3)
LEARNING_SEEDS = 20
LIMIT = 200


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the figures; the learning curves and the test suite's time only with ``slow``."""
    yield from _the_night()
    yield from _rare_particles()
    yield from _bad_input()
    if slow:
        yield from _learning()
        yield from _suite()


def _the_night() -> Iterator[Figure]:
    autoscope = str(Path(sys.executable).with_name("autoscope"))
    with tempfile.TemporaryDirectory() as runs:
        command = [autoscope, "run", "configs/overnight_survey.yaml", "--runs", runs]
        started = time.perf_counter()
        done = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(done.pid, 0)
        seconds, peak_gb = time.perf_counter() - started, used.ru_maxrss * 1024 / 1e9
        (run,) = Path(runs).iterdir()
        verified = subprocess.run([autoscope, "verify", str(run)], capture_output=True, text=True)
        megabytes = (run / "report" / "index.html").stat().st_size / 1e6
    how = "autoscope run configs/overnight_survey.yaml, with report, as its own process"
    yield Figure("night_wall_time", round(seconds, 1), "s", "< 240 on 2 cores", seconds < 240 and status == 0, 1, how)
    yield Figure("night_peak_memory", round(peak_gb, 2), "GB", "< 2", peak_gb < 2.0, 1, how)
    yield Figure("night_journal_verifies", verified.returncode == 0, "", "true", verified.returncode == 0, 1, "verify")
    yield Figure("night_report_size", round(megabytes, 2), "MB", "< 20", megabytes < 20, 1, how)


def _rare_particles() -> Iterator[Figure]:
    named = {"agent": "overnight_survey", "raster": "raster_survey", "in_order": "segment_and_visit"}
    nights = {who: [night(f"{config}.yaml", seed) for seed in SEEDS] for who, config in named.items()}
    for who, each in nights.items():
        counts = [f"{n.rare_measured}/{n.rare_total}" for n in each]
        spent = f"{max(n.end.time_s for n in each) / 3600:.2f} h, {max(n.end.dose_e for n in each):.3g} e at most"
        how = f"{named[who]}.yaml, seeds {SEEDS}: {counts} rare particles, {[n.spectra for n in each]} spectra, {spent}"
        mean = sum(n.fraction for n in each) / len(each)
        yield Figure(f"rare_measured_{who}", round(mean, 3), "fraction", "", None, len(each), how)
    ideal = [n.fraction / n.ideal_raster for n in nights["agent"] if n.ideal_raster > 0]
    how = f"agent over {[round(n.ideal_raster, 3) for n in nights['agent']]}, the most any raster could show (computed)"
    yield Figure(
        "rare_agent_over_ideal_raster", round(min(ideal), 1), "x (worst seed)", ">= 3", min(ideal) >= 3, 3, how
    )
    for other, goal in (("raster", 3.0), ("in_order", None)):
        ratios = [
            a.rare_measured / max(1, b.rare_measured) for a, b in zip(nights["agent"], nights[other], strict=True)
        ]
        worst = min(ratios)
        yield Figure(
            f"rare_agent_over_{other}",
            round(worst, 2),
            "x (worst seed)",
            f">= {goal:g}" if goal else "",
            worst >= goal if goal else None,
            len(ratios),
            f"same time and dose budget; none found counts as one; seeds {SEEDS}: {[round(r, 2) for r in ratios]}",
        )


def map_tasks() -> list[MapTask]:
    """Return the real maps that are on this machine."""
    shared = Path(os.environ.get("AUTOSCOPE_DATA", ROOT.parent / "shared" / "data"))

    def integral(**options: object) -> dict[str, object]:
        return {"name": "band_integral", "options": options}

    tasks = [
        MapTask(
            "JEOL Fe K",
            {
                "path": "data/jeol/View000_0000006.pts",
                "read": {
                    "bin_px": 4,
                    "bin_channels": 4,
                    "band": ["0.2 keV", "10 keV"],
                    "image": "data/jeol/View000_0000000.img",
                },
            },
            integral(band=["6.2 keV", "6.6 keV"], background=[["5.6 keV", "6.1 keV"], ["7.3 keV", "7.8 keV"]]),
        ),
        MapTask(
            "SiO2 Si K", {"path": str(shared / "eds_stem_sio2_128x128.npz")}, integral(band=["1.66 keV", "1.88 keV"])
        ),
        MapTask("nanocubes", {"path": str(shared / "eels_nanocubes_dkl_scalar.npz")}, integral()),
        MapTask(
            "CuZn Cu L",
            {"path": str(shared / "eels_cuzn_coreloss.npz")},
            {"name": "edge", "options": {"background": ["800 eV", "925 eV"], "band": ["931 eV", "1010 eV"]}},
        ),
    ]
    return [task for task in tasks if (ROOT / task.data["path"]).exists()]


def _learning() -> Iterator[Figure]:
    for task in map_tasks():
        counts = {
            policy: [
                measurements_to_level(task, policy, seed, share=0.95, limit=LIMIT) for seed in range(LEARNING_SEEDS)
            ]
            for policy in ("deep_kernel", "gp", "random")
        }
        for policy, each in counts.items():
            median, (low, high) = median_with_interval(each)
            missed = sum(c > LIMIT for c in each)
            how = f"{task.name}; 95 % interval [{low:g}, {high:g}]; {missed} of {len(each)} seeds not within {LIMIT}"
            better = policy != "deep_kernel" or median < median_with_interval(counts["random"])[0]
            goal = "fewer than random" if policy == "deep_kernel" else ""
            yield Figure(f"to_95_percent_{policy}", median, "spectra", goal, better if goal else None, len(each), how)


def _bad_input() -> Iterator[Figure]:
    command = [sys.executable, "-m", "pytest", "-q", "tests/fault/test_bad_input.py", "-rA", "-p", "no:randomly"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    cases = re.findall(r"^CASE (.*)$", done.stdout, flags=re.MULTILINE)
    ok = done.returncode == 0 and len(cases) >= 25
    how = "pytest -rA tests/fault/test_bad_input.py shows each case with its message"
    yield Figure("bad_inputs_with_their_message", len(cases), "cases", ">= 25", ok, len(cases), how)


def _suite() -> Iterator[Figure]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    last = done.stdout.strip().splitlines()[-1]
    yield Figure("default_suite", round(seconds), "s", "< 600", seconds < 600 and done.returncode == 0, 1, last)
