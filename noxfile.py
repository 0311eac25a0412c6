"""Environments of the tests that need one of their own, each made with uv: `nox --list`.

nox -s "frameworks(langchain)" -- -k stream    one environment of agent frameworks, with options for pytest
nox -t ci                                      the three environments of frameworks that stand for all
nox -s frameworks frameworks_oldest            all, with the newest and with the oldest versions
AS_OF=2026-03-01 nox -s "frameworks(mcp)"      with the versions of a day
nox -s floor -- mcp                            the oldest version of a framework with which its tests pass
nox -s "wheel-3.13(floor)"                     the built wheel away from its sources, with the oldest dependencies
nox -s clients_oldest extras examples          all of the oldest clients, of the extras and of the examples
nox -s live                                    other vendors' instrumentors
nox -s scan fuzz                               the promises of SECURITY.md
nox -s constraints licences prose              files that go with the requirements, and the language of the pages
"""

from __future__ import annotations

import bisect
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import nox

ROOT: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))
from requirements import CLIENTS, EXTRAS, PROJECT  # noqa: E402

FRAMEWORKS: Final[dict[str, dict[str, Any]]] = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "tests" / "frameworks" / "environments").glob("*.toml"))
}
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
COMMON: Final = (
    "-e", f"{ROOT}[local,cli,openai,anthropic]", "pytest>=8.3", "pytest-asyncio>=0.24", "pytest-timeout>=2.3"
)  # fmt: skip
"""This library as an app installs it, with the local PandaProbe, and the packages that run the frameworks' tests."""
CURRENT: Final = ("orjson", "pytest", "pytest-asyncio", "pytest-timeout")
"""Packages that stay current in an environment of the past, because this library or the tests need a newer version."""
LIBRARY_EXTRAS: Final = ("cli", "cost", "gateway", "local", "pandas", "redis")
"""The library's own extras; two clients are tested with them, for the demo and for spans that clients make."""
OF_OTHERS: Final = ("aiobotocore", "boto3", "pandaprobe-otel[")
"""Requirements left out where the oldest versions are tested: the clients, and `mcp`, which needs newer ones."""
NEED_OTHERS: Final = ("tests/docs", "tests/integrations", "tests/mcp_server", "tests/demo/test_scripted_endpoint.py")
NOTHING_COLLECTED: Final = 5

nox.options.default_venv_backend = "uv"
nox.options.sessions = []
for ours, theirs in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
    if ours in os.environ:
        os.environ.setdefault(theirs, os.environ[ours])  # uv does not read pip's settings
# A shell starts background processes with Ctrl-C ignored, which their children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def built_wheel() -> Path:
    """Return the wheel of this checkout, or that of the variable WHEEL."""
    if given := os.environ.get("WHEEL"):
        return Path(given).resolve(strict=True)
    home = ROOT / "build" / "wheel"
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", home, ROOT], check=True)
    (wheel,) = home.glob("*.whl")
    return wheel


def floors(requirements: Sequence[str]) -> list[str]:
    """Return the requirements pinned to their oldest versions. Raises ValueError for one without an oldest version."""
    pinned: set[str] = set()
    for requirement in requirements:
        oldest = re.match(r"([A-Za-z0-9_.-]+)>=([^,;]+)", requirement)
        if oldest is None:
            raise ValueError(f"{requirement!r} must name its oldest version first")
        pinned.add(f"{oldest[1]}=={oldest[2]}")
    return sorted(pinned)


def frameworks_of(name: str, day: str | None, *, at_floor: bool = False) -> list[str]:
    """Return what to install for an environment of frameworks, with the newest packages, or those of a day.

    It has the packages of the framework's extra, and those that its tests need as well. At its floor, the framework,
    which is the first requirement, has the oldest version that is claimed.
    """
    requirements = [*EXTRAS[name.removeprefix("beside_")], *FRAMEWORKS[name]["more"]]
    if day is None:
        return [*COMMON, *requirements]
    names = [re.split(r"[<>=]", each)[0].strip() for each in requirements]
    if at_floor:
        names[0] = requirements[0].replace(">=", "==")
    today = f"{date.today() + timedelta(days=1)}"
    return [*COMMON, *names, "--exclude-newer", day, *(f"--exclude-newer-package={each}={today}" for each in CURRENT)]


def oldest_client(name: str) -> list[str]:
    """Return the requirements of a client library in the oldest version; bedrock has boto3 and aiobotocore too."""
    found = [EXTRAS[name][0].replace(">=", "==")]
    if name == "bedrock":
        found += [each.replace(">=", "==") for each in EXTRAS["dev"] if each.startswith(("boto3", "aiobotocore"))]
    if name in ("anthropic", "cerebras", "groq", "openai"):
        found.append("httpx<0.28")  # the oldest clients pass an argument that newer httpx refuses
    return found


def copy_without_sources(target: Path) -> None:
    """Copy the files in version control, except those in the wheel."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("pandaprobe_otel/", "integrations/")) and (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@nox.session(python=PYTHONS)
@nox.parametrize("versions", ["floor", "latest", "named"], ids=["floor", "latest", "named"])
def wheel(session: nox.Session, versions: str) -> None:
    """Run the inner ring with the wheel and without its sources: oldest, newest or named versions of dependencies.

    With the oldest ones, only the library is tested, without its integrations (see `clients_oldest`), and warnings of
    old versions are not failures.
    """
    home, options = Path(session.create_tmp()), list[str]()
    installed, limits = [f"{built_wheel()}[dev]"], list[str]()
    if versions == "named":
        limits = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    elif versions == "floor":
        optional = [each for extra in LIBRARY_EXTRAS for each in EXTRAS[extra]]
        limits = floors(
            [*PROJECT["dependencies"], *(one for one in optional if not one.startswith("pandaprobe-otel["))]
        )
        tools = [each for each in EXTRAS["dev"] if not each.startswith(OF_OTHERS)]
        installed = [f"{built_wheel()}[{','.join((*LIBRARY_EXTRAS, 'openai', 'anthropic'))}]", *tools]
        options = ["-W", "ignore", *(f"--ignore={path}" for path in NEED_OTHERS)]
    (home / "constraints.txt").write_text("\n".join(limits), encoding="utf-8")
    session.install("--constraints", str(home / "constraints.txt"), *installed)
    shutil.rmtree(home / "project", ignore_errors=True)
    copy_without_sources(home / "project")
    session.chdir(home / "project")
    session.run("python", "-m", "pytest", *options, *session.posargs)


def run_frameworks(session: nox.Session, name: str) -> None:
    """Run the tests of an environment. No tests is a failure, unless options deselected them all."""
    files = sorted(map(str, (ROOT / "tests" / "frameworks").glob(f"test_{name}*.py")))
    if not files:
        session.error(f"no test is named tests/frameworks/test_{name}*.py")
    where = ("-c", str(ROOT / "tests" / "frameworks" / "pytest.ini"), "--rootdir", str(ROOT))
    codes = [0, NOTHING_COLLECTED] if session.posargs else [0]
    session.run("python", "-m", "pytest", *where, *session.posargs, *files, success_codes=codes)


@nox.session(reuse_venv="AS_OF" not in os.environ)
@nox.parametrize("name", [nox.param(name, id=name, tags=[table["when"]]) for name, table in FRAMEWORKS.items()])
def frameworks(session: nox.Session, name: str) -> None:
    """Run the tests with agent frameworks, each set of frameworks in an environment of its own."""
    session.install(*frameworks_of(name, os.environ.get("AS_OF")))
    run_frameworks(session, name)


@nox.session
@nox.parametrize("name", [*FRAMEWORKS], ids=[*FRAMEWORKS])
def frameworks_oldest(session: nox.Session, name: str) -> None:
    """Run them with the oldest version that pyproject.toml claims, and with packages of that time."""
    session.install(*frameworks_of(name, FRAMEWORKS[name]["oldest"], at_floor=True))
    run_frameworks(session, name)


@nox.session(venv_backend="none")
def floor(session: nox.Session) -> None:
    """Find the oldest day with whose versions a framework's tests pass: its name, and days if not of twelve months.

    All days after a passing one are assumed to pass. Put the version of that day into
    `pandaprobe_otel/config/integrations.py`, and the day into `tests/frameworks/environments/`.
    """
    name, *given = session.posargs
    months = [date.today().year * 12 + date.today().month - 1 - back for back in range(12, -1, -1)]
    days = given or [f"{each // 12}-{each % 12 + 1:02}-01" for each in months]
    command = (sys.executable, "-m", "nox", "-s", f"frameworks({name})", "--", "-q", "--maxfail=10")

    def passes(day: str) -> bool:
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "AS_OF": day}, check=False).returncode == 0

    first = bisect.bisect_left(days, True, key=passes)
    if first == len(days):
        session.error(f"no day passes: {name}")
    session.log(f"{name}: the oldest passing version is that of {days[first]}")


@nox.session
@nox.parametrize("name", CLIENTS, ids=CLIENTS)
def clients_oldest(session: nox.Session, name: str) -> None:
    """Run the tests of a client library with its oldest version."""
    session.install("-e", f"{ROOT}[dev]")
    session.install(*oldest_client(name))
    chosen = ("-m", "not exhaustive", "tests/integrations", "-k", f"{name} or {name.replace('_', '-')}")
    options = ("-q", "-rs", "-W", "ignore", "-p", "no:cacheprovider", *chosen, *session.posargs)
    session.run("python", "-m", "pytest", *options)


WITH_A_PAGE: Final = [name for name in EXTRAS if name not in ("all", "dev", "docs", "lint", "outer")]


@nox.session
@nox.parametrize("name", WITH_A_PAGE, ids=WITH_A_PAGE)
def extras(session: nox.Session, name: str) -> None:
    """Install an extra alone, and run the program on its page."""
    session.install(f"pandaprobe-otel[{name}] @ {built_wheel().as_uri()}")
    run_as_reader(session, "extra", name)


def needs(path: str) -> str:
    """Return what an example says to install."""
    text = (ROOT / "examples" / path).read_text(encoding="utf-8")
    found = re.search(r"pip install ([^`\n\\]+)", text)
    if found is None:
        raise ValueError(f"examples/{path} must say what to install")
    return found[1]


EXAMPLES: Final = sorted(path.name for ending in ("py", "ipynb") for path in (ROOT / "examples").glob(f"*.{ending}"))


@nox.session
@nox.parametrize("file", EXAMPLES, ids=EXAMPLES)
def examples(session: nox.Session, file: str) -> None:
    """Run an example with only what it says to install, and without a key."""
    ours = re.compile(r"^pandaprobe-otel(\[[\w,]+\])?$")
    wheel = f"pandaprobe-otel\\1 @ {built_wheel().as_uri()}"
    session.install(*(ours.sub(wheel, each.strip("\"'")) for each in needs(file).split()))
    run_as_reader(session, "example", file)


def run_as_reader(session: nox.Session, kind: str, name: str) -> None:
    """Run a program in this session's environment, from the environment in which nox runs."""
    session.run(sys.executable, "scripts/run_as_reader.py", kind, name, session.bin, external=True)


@nox.session
def licences(session: nox.Session) -> None:
    """Check that the licence of every dependency allows use, change and redistribution."""
    session.install("-e", f"{ROOT}[all,mcp,pandas,redis]", "pip-licenses>=5.0")
    # Mozilla's licence covers its own files alone. mistralai states none; the licence in its file is Apache's.
    allowed = "Apache;MIT;BSD;ISC;PSF;Python Software Foundation;Unlicense;MPL;Mozilla"
    session.run("pip-licenses", "--partial-match", "--allow-only", allowed, "--ignore-packages", "mistralai")


@nox.session(venv_backend="none")
def constraints(session: nox.Session) -> None:
    """Name the newest versions that agree, for every Python, in constraints.txt."""
    chosen = [option for extra in ("dev", "docs", "lint", "outer") for option in ("--extra", extra)]
    session.run(
        *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--upgrade", "--no-annotate"),
        *("--python-version", PYTHONS[0], "--custom-compile-command", "nox -s constraints", *chosen),
        *("pyproject.toml", "--output-file", "constraints.txt"),
    )


@nox.session(venv_backend="none")
def scan(session: nox.Session) -> None:
    """Plant secrets in every field of every dialect, client, spool and cassette: none comes out where none may."""
    rooms = (
        "mapping/test_privacy.py", "capture/test_planted.py", "assembly/test_recovery.py",
        "integrations/test_planting.py", "replay/test_scrubbing.py",
    )  # fmt: skip
    session.run(sys.executable, "-m", "pytest", "-m", "", *(f"tests/{each}" for each in rooms), *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Send 10,000 odd requests to the gateway, by HTTP and gRPC, and to the local server; seeds are kept."""
    rooms = (
        "gateway/test_fuzz.py",
        "gateway/test_json.py",
        "local/test_any_request.py",
        "local/test_failed_requests.py",
    )
    options = ("-m", "", "--timeout", "3600", *(f"tests/{each}" for each in rooms), *session.posargs)
    session.run(sys.executable, "-m", "pytest", *options, env={"PANDAPROBE_TEST_EXAMPLES": "55"})


@nox.session(venv_backend="none")
def prose(session: nox.Session) -> None:
    """Check the hand-written pages with textlint (.textlintrc.json): Google's developer style and write-good."""
    packages = (
        "textlint@15.8.0", "@textlint-rule/textlint-rule-preset-google@0.1.2", "textlint-rule-write-good@2.0.0",
        "textlint-filter-rule-allowlist@4.0.0",
    )  # fmt: skip
    session.run("npx", "--yes", *(f"--package={each}" for each in packages), "textlint", "*.md", "docs/**/*.md")


@nox.session(venv_backend="none")
def live(session: nox.Session) -> None:
    """Run other vendors' instrumentors against a scripted model, and write docs/live-instrumentors.md."""
    session.run(sys.executable, "tests/mapping/live/live_runs.py", "--write", *session.posargs)
