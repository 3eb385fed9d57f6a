"""A stranger's policy in a wheel of its own: the one of docs/plugins.md, word by word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "plugins.md"


def code(language: str, containing: str) -> str:
    """Return the block of the page that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if containing in block)


def build_wheel(folder: Path) -> Path:
    """Write the package, build it without network, and return the wheel."""
    source = folder / "stranger"
    (source / "my_package").mkdir(parents=True)
    (source / "my_package" / "__init__.py").write_text("")
    (source / "my_package" / "wander.py").write_text(code("python", "class Wander"))
    head = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
    project = '[project]\nname = "stranger"\nversion = "1.0"\n\n[tool.setuptools]\npackages = ["my_package"]\n\n'
    (source / "pyproject.toml").write_text(head + project + code("toml", "my_package.wander"))
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(source / "dist"),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def write_bench(folder: Path) -> Path:
    """Write the page's benchmark and return its path."""
    (folder / "wander.yaml").write_text(code("yaml", "job: bench"))
    return folder / "wander.yaml"


def check_results(table: Path) -> None:
    """Raise where the stranger's policy is not among the results, or did not measure."""
    import pyarrow.parquet as pq

    rows = [row for row in pq.read_table(table).to_pylist() if row["policy"] == "wander"]
    if len(rows) != 6 or any(row["status"] != "completed" or len(row["chosen"]) != 20 for row in rows):
        raise SystemExit(f"the stranger's policy is not benchmarked: {[(r['status'], len(r['chosen'])) for r in rows]}")
