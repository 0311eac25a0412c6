"""Build the source distribution and, from it alone, the wheel; check both before anyone installs them.

    python scripts/check_distributions.py DIRECTORY            metadata, contents, size
    python scripts/check_distributions.py DIRECTORY --types    and the typed share of the public interface
    python scripts/check_distributions.py DIRECTORY --tag TAG  and whether they may be released under this tag

Prints its findings. Exits with 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("pandaprobe_otel", "pandaprobe_otel_integrations")
MARKERS: Final = tuple(f"{package}/py.typed" for package in PACKAGES)  # Type checkers need these files.
IN_THE_SDIST: Final = ("tests/", "examples/", "docs/", "benchmarks/", "scripts/", "LICENSE", "CHANGELOG.md")
# About twice the actual sizes, which a recording or picture added by mistake would exceed.
LARGEST_WHEEL: Final = 2_000_000
LARGEST_SDIST: Final = 4_000_000
# Least share of typed symbols; the others are constants whose type is inferred from their value.
TYPED_PERCENT: Final = 90.0


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
    """Yield the faults of the wheel's contents and metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(metadata_name).decode())
    distribution = metadata_name.split("/")[0]
    tops = {name.split("/")[0] for name in names}
    if tops != {*PACKAGES, distribution}:
        yield f"the wheel would put {sorted(tops)} into site-packages"
    yield from (f"the wheel has no {marker}" for marker in MARKERS if marker not in names)
    if f"{distribution}/licenses/LICENSE" not in names:
        yield "the wheel has no licence file"
    if strange := [name for name in names if re.search(r"(^|/)(tests?|__pycache__)/|\.(pyc|ya?ml|log)$", name)]:
        yield f"the wheel has files that no user needs: {strange[:5]}"
    if metadata["Requires-Python"] != ">=3.11":
        yield f"the wheel is for Python {metadata['Requires-Python']}"
    core = [each for each in metadata.get_all("Requires-Dist") or [] if "extra ==" not in each]
    yield from (f"the dependency {each!r} has no oldest version" for each in core if ">=" not in each)
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


def described_well(wheel: Path, sdist: Path) -> bool:
    """Return whether the package index would accept both distributions, by `twine check`."""
    command = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    return subprocess.run(command, check=False).returncode == 0


def typed_percent(wheel: Path) -> float:
    """Return the share of symbols with a known type, from pyright on the installed wheel."""
    with tempfile.TemporaryDirectory(prefix="pandaprobe-otel-types.") as work:
        uv, python = [sys.executable, "-m", "uv"], Path(work) / "environment" / "bin" / "python"
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(python.parents[1])], check=True)
        installed = [f"{wheel}[all]", "pyright"]
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *installed], check=True)
        path = os.pathsep.join((str(python.parent), os.environ["PATH"]))
        said = subprocess.run(
            [str(python), "-m", "pyright", "--ignoreexternal", "--verifytypes", PACKAGES[0]],
            cwd=work,
            env={**os.environ, "PATH": path, "VIRTUAL_ENV": str(python.parents[1])},
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    found = re.search(r"Type completeness score: ([\d.]+)%", said)
    return float(found[1]) if found else 0.0


def main() -> int:
    """Parse the command line, build and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder for both; it must not contain another distribution")
    parser.add_argument("--types", action="store_true", help="also install the wheel and measure its types (a minute)")
    parser.add_argument("--tag", help="tag of a release, which must be the version, with a section in CHANGELOG.md")
    chosen = parser.parse_args()
    wheel, sdist = build(chosen.directory)
    faults = [*wheel_faults(wheel), *sdist_faults(sdist)]
    if chosen.tag:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        faults += tag_faults(chosen.tag, wheel.name.split("-")[1], changelog)
    if not described_well(wheel, sdist):
        faults.append("twine would refuse to upload them")
    if chosen.types:
        percent = typed_percent(wheel)
        print(f"{percent} % of all symbols have a declared type")
        if percent < TYPED_PERCENT:
            faults.append(f"less than {TYPED_PERCENT} % of the symbols have a declared type")
    for each in (wheel, sdist):
        print(f"{each.name}: {each.stat().st_size:,} bytes")
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
