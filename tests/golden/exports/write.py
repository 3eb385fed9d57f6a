"""Write the golden listing of a NeXus file anew: ``python -m tests.golden.exports.write``."""

import tempfile
from pathlib import Path

import h5py

from autoscope.exports import export
from autoscope.exports.options import Options
from tests.unit.exports.lab import full_run

LISTING = Path(__file__).with_name("nexus_structure.txt")
OPTIONS = Options(author="Ada B", orcid="0000-0002-1825-0097", elements=("Pt", "C"))


def listing(path: Path) -> str:
    """Return one line for each group and dataset of a file; the length of the packed records is left open."""
    with h5py.File(path) as file:
        lines = []
        file.visititems(lambda name, item: lines.append(_described(name, item)))
    return "\n".join(sorted(lines)) + "\n"


def _described(name, item):
    if isinstance(item, h5py.Group):
        return f"{name} ({item.attrs['NX_class']})"
    kind = "text" if h5py.check_string_dtype(item.dtype) else str(item.dtype)
    shape = "[...]" if name.endswith("/lines") else str(list(item.shape))
    return f"{name}: {kind} {shape} {item.attrs.get('units', '')}".rstrip()


def main() -> None:
    """Write the listing."""
    with tempfile.TemporaryDirectory() as folder:
        run = full_run(Path(folder, "full")).folder
        LISTING.write_text(listing(export(run, "nexus", options=OPTIONS).path), encoding="utf-8")


if __name__ == "__main__":
    main()
