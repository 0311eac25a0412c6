"""Build the source distribution and, from it alone, the wheel; check both before anyone installs them.

    python scripts/check_distributions.py DIRECTORY            metadata, contents, size
    python scripts/check_distributions.py DIRECTORY --tag TAG  and whether they may be released under this tag

Prints its findings. Exits with 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("pandaprobe_otel", "pandaprobe_otel_integrations")
IN_THE_SDIST: Final = ("tests/", "examples/", "docs/", "benchmarks/", "scripts/", "LICENSE", "CHANGELOG.md")
# About twice the actual sizes, which a recording or picture added by mistake would exceed.
LARGEST_WHEEL: Final = 2_000_000
LARGEST_SDIST: Final = 4_000_000


def build(directory: Path) -> tuple[Path, Path]:
    """Build both distributions, and return the paths of the wheel and of the source distribution.

    Raises CalledProcessError.
    """
    uv = [sys.executable, "-m", "uv"]
    subprocess.run(
        [*uv, "build", "--quiet", "--no-create-gitignore", "--out-dir", str(directory), str(ROOT)], check=True
    )
    (wheel,), (sdist,) = directory.glob("*.whl"), directory.glob("*.tar.gz")
    return wheel, sdist


def wheel_faults(wheel: Path) -> Iterable[str]:
    """Yield the faults of the wheel's contents, such as no `py.typed`, which type checkers need."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    distribution = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    tops = {name.split("/")[0] for name in names}
    if tops != {*PACKAGES, distribution}:
        yield f"the wheel would put {sorted(tops)} into site-packages"
    wanted = (*(f"{package}/py.typed" for package in PACKAGES), f"{distribution}/licenses/LICENSE")
    yield from (f"the wheel has no {name}" for name in wanted if name not in names)
    if strange := [name for name in names if re.search(r"(^|/)(tests?|__pycache__)/|\.(pyc|ya?ml|log)$", name)]:
        yield f"the wheel has files that no user needs: {strange[:5]}"
    if wheel.stat().st_size > LARGEST_WHEEL:
        yield f"the wheel has {wheel.stat().st_size:,} bytes, more than {LARGEST_WHEEL:,}"


def sdist_faults(sdist: Path) -> Iterable[str]:
    """Yield the faults of the source distribution's contents."""
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    yield from (
        f"the source distribution has no {wanted}"
        for wanted in IN_THE_SDIST
        if not any(name.startswith(wanted) for name in names)
    )
    if sdist.stat().st_size > LARGEST_SDIST:
        yield f"the source distribution has {sdist.stat().st_size:,} bytes, more than {LARGEST_SDIST:,}"


def tag_faults(tag: str, version: str, changelog: str) -> Iterable[str]:
    """Yield the reasons for which the tag must not be released."""
    if tag != f"v{version}":
        yield f"the tag is {tag}, but pyproject.toml says {version}"
    section = re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if section is None:
        yield f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`"
    elif "- " not in section[1]:
        yield f"the section of {version} in CHANGELOG.md is empty"


def main() -> int:
    """Parse the command line, build and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder for both; it must not contain another distribution")
    parser.add_argument("--tag", help="tag of a release, which must be the version, with a section in CHANGELOG.md")
    chosen = parser.parse_args()
    wheel, sdist = build(chosen.directory)
    faults = [*wheel_faults(wheel), *sdist_faults(sdist)]
    if chosen.tag:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        faults += tag_faults(chosen.tag, wheel.name.split("-")[1], changelog)
    if subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]).returncode:
        faults.append("twine would refuse to upload them")
    for each in (wheel, sdist):
        print(f"{each.name}: {each.stat().st_size:,} bytes")
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
