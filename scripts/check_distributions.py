"""Build the source distribution and, from it alone, the wheel; check both before anyone installs them.

    python scripts/check_distributions.py DIRECTORY        metadata, contents, size
    python scripts/check_distributions.py DIRECTORY TAG    and whether they may be released under this tag

The tag must be the version, with a section in CHANGELOG.md. DIRECTORY must not contain another distribution.

Prints its findings. Exits with 1 if there is a fault.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("pandaprobe_otel", "pandaprobe_otel_integrations")
IN_THE_SDIST: Final = ("tests/", "examples/", "docs/", "benchmarks/", "scripts/", "LICENSE", "CHANGELOG.md")
# About twice the actual sizes, which a recording or picture added by mistake would exceed.
LARGEST_WHEEL: Final = 2_000_000
LARGEST_SDIST: Final = 4_000_000


def faults_of(file: Path, names: Sequence[str], wanted: Iterable[str], largest: int) -> Iterator[str]:
    """Yield what is missing in a distribution that holds `names`, and its size if it is too large."""
    for each in wanted:
        if not any(name.startswith(each) for name in names):
            yield f"{file.name} has no {each}"
    if (size := file.stat().st_size) > largest:
        yield f"{file.name} has {size:,} bytes, more than {largest:,}"


def wheel_faults(wheel: Path) -> Iterator[str]:
    """Yield the faults of the wheel's contents, such as no `py.typed`, which type checkers need."""
    names = zipfile.ZipFile(wheel).namelist()
    distribution = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    tops = {name.split("/")[0] for name in names}
    if tops != {*PACKAGES, distribution}:
        yield f"the wheel would put {sorted(tops)} into site-packages"
    if strange := [name for name in names if re.search(r"(^|/)(tests?|__pycache__)/|\.(pyc|ya?ml|log)$", name)]:
        yield f"the wheel has files that no user needs: {strange[:5]}"
    wanted = (*(f"{package}/py.typed" for package in PACKAGES), f"{distribution}/licenses/LICENSE")
    yield from faults_of(wheel, names, wanted, LARGEST_WHEEL)


def tag_faults(tag: str, version: str, changelog: str) -> Iterator[str]:
    """Yield the reasons for which the tag must not be released."""
    if tag != f"v{version}":
        yield f"the tag is {tag}, but pyproject.toml says {version}"
    section = re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if section is None:
        yield f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`"
    elif "- " not in section[1]:
        yield f"the section of {version} in CHANGELOG.md is empty"


def main(directory: str, tag: str = "") -> int:
    """Build and check both, and return the exit code."""
    uv = (sys.executable, "-m", "uv", "build", "--quiet", "--no-create-gitignore", "--out-dir")
    subprocess.run([*uv, directory, str(ROOT)], check=True)
    (wheel,), (sdist,) = Path(directory).glob("*.whl"), Path(directory).glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = [name.partition("/")[2] for name in archive.getnames()]
    faults = [*wheel_faults(wheel), *faults_of(sdist, inside, IN_THE_SDIST, LARGEST_SDIST)]
    if tag:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        faults += tag_faults(tag, wheel.name.split("-")[1], changelog)
    if subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]).returncode:
        faults.append("twine would refuse to upload them")
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
