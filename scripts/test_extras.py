"""Install each extra alone, and run the program on its page as a reader would.

    python scripts/test_extras.py              every extra
    python scripts/test_extras.py langchain    these

Each extra gets an environment with only `pandaprobe-otel[NAME]`, from the wheel of this checkout. Environment variables
point to a scripted model and to a local PandaProbe, which run in this process. The program must succeed without a
warning of this library, and PandaProbe must have its spans. Needs the packages of `make install` and redis-server, and
takes minutes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, Final

import dependencies
from fresh_environments import ROOT, Environment, built_wheel, fresh_environment, summary, verdict
from other_extras import OTHER_EXTRAS
from page_models import page_script
from pandaprobe_otel import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.registry import INTEGRATIONS

sys.path.append(str(ROOT / "tests" / "support"))
from doc_models import models
from redis_server import RedisServer

SNIPPETS: Final = ROOT / "scripts" / "docs_pages" / "snippets"
WITHOUT_A_PAGE: Final = frozenset({"all", *dependencies.NOT_FOR_USERS})
FRAMEWORKS: Final = frozenset(path.stem for path in (ROOT / "tests" / "frameworks" / "environments").glob("*.toml"))
"""Frameworks, on whose pages a program calls a tool."""
ASKS_NO_MODEL: Final = frozenset({"mcp"})


def extras() -> list[str]:
    """Return the extras with a page. Raises ValueError for an extra without a known program."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [name for name in project["optional-dependencies"] if name not in WITHOUT_A_PAGE]
    if unknown := [name for name in found if not _has_program(name)]:
        raise ValueError(f"nothing to run for {', '.join(unknown)}: add it to {SNIPPETS} or to other_extras.py")
    return found


def _has_program(name: str) -> bool:
    return name in OTHER_EXTRAS or (SNIPPETS / f"{name}.py").exists()


def faults_of_integration(name: str, environment: Environment, server: LocalServer) -> list[str]:
    """Run the program on the page of a client or framework, and return its faults."""
    shutil.copy(SNIPPETS / f"{name}.py", environment.folder / "app.py")
    with models(page_script(name)) if name in FRAMEWORKS else models() as model:
        ran = environment.run("python app.py", {**model, **server.environment(name)})
    return [*ran.faults, *_missing(name, server)] if ran.code == 0 else ran.faults


def _missing(name: str, server: LocalServer) -> list[str]:
    wanted = {"LLM": name not in ASKS_NO_MODEL, "TOOL": name in FRAMEWORKS}
    with Client(server.api_key, name, server.url) as client:
        kinds = {span.kind for trace in client.traces.iter() for span in client.traces.get(trace).spans}
    return [
        f"its traces have no {kind} span, only {sorted(kinds)}" for kind in wanted if wanted[kind] and kind not in kinds
    ]


def faults_of_other(name: str, environment: Environment, server: LocalServer, redis: str) -> list[str]:
    """Run the program of an extra that is not an integration, and return its faults."""
    program = OTHER_EXTRAS[name]
    if program.is_python:
        (environment.folder / "app.py").write_text(program.text, encoding="utf-8")
    variables = {**server.environment(name), "REDIS": redis}
    ran = environment.run("python app.py" if program.is_python else program.text, variables)
    said = ran.out + ran.err
    return ran.faults or ([] if program.says in said else [f"its output does not contain {program.says!r}:\n{said}"])


def faults(name: str, wheel: Path, server: LocalServer, redis: str) -> list[str]:
    """Return the faults of the extra's program."""
    try:
        with fresh_environment(wheel, [f"pandaprobe-otel[{name}]"]) as environment:
            if name in INTEGRATIONS:
                return faults_of_integration(name, environment, server)
            return faults_of_other(name, environment, server, redis)
    except subprocess.SubprocessError as error:
        return [str(error)]


def main() -> int:
    """Parse the command line, run the programs, and return the exit code."""
    known = extras()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    names: list[str] = parser.parse_args().names or known
    if strange := [name for name in names if name not in known]:
        parser.error(f"there is no extra {', '.join(strange)} with a page; the extras are: {', '.join(known)}")
    verdicts: list[bool] = []
    with built_wheel() as wheel, LocalServer(limit=None) as server, RedisServer() as redis:
        for name in names:
            begun = time.monotonic()
            verdicts.append(verdict(name, faults(name, wheel, server, redis.url), time.monotonic() - begun))
    return summary(verdicts)


if __name__ == "__main__":
    sys.exit(main())
