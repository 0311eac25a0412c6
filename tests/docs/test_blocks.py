"""Documentation pages, followed step by step: every block of code is run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from command_line import clean_environment
from doc_blocks import ROOT, RUN, SHOWN, Block, Program, Step, blocks, name_of, pages, steps
from doc_programs import Reader, Tools
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer

SEND_NOTHING: Final = frozenset(
    {
        "add-an-integration", "coding-agents", "existing-opentelemetry", "integrations", "local", "metrics",
        "production", "simulated-users", "troubleshooting",
    }
)  # fmt: skip
"""Pages whose programs make no agent trace, or send it to a server of the page's own."""
PYTEST_OPTIONS: Final = f"-c {os.devnull} --rootdir=. -p no:cacheprovider -Wignore::pytest.PytestAssertRewriteWarning"
"""Options for pytest in a reader's folder: no configuration of this repository, and modules imported before pytest."""
OUTER: Final = frozenset(
    {
        "docs/client.md",
        "docs/evaluation-ci.md",
        "docs/evaluation.md",
        "docs/failures.md",
        "docs/fleets.md",
        "docs/from-failure-to-test.md",
        "docs/integrations/litellm.md",
        "docs/local.md",
        "docs/metrics.md",
        "docs/queues.md",
        "docs/quickstart.md",
        "docs/record-replay.md",
        "docs/rerun.md",
        "docs/simulated-users.md",
    }
)
"""Pages that take long, or need Celery."""
RUN_ELSEWHERE: Final = frozenset(
    f"docs/integrations/{path.stem}.md" for path in (ROOT / "tests" / "frameworks" / "environments").glob("*.toml")
)
"""Pages of frameworks that are not installed here: `nox -s extras` runs each in its own environment."""


def _pages() -> Iterator[Any]:
    for page in pages():
        if any(block.is_run or block.is_file for block in blocks(page)):
            name = name_of(page)
            yield pytest.param(page, id=name, marks=[pytest.mark.outer] if name in OUTER else [])


def steps_here(page: Path) -> list[Step]:
    """Return the steps of a page that are run here."""
    elsewhere = name_of(page) in RUN_ELSEWHERE
    return [step for step in steps(page) if not (elsewhere and isinstance(step, Program))]


@pytest.mark.parametrize("page", [*_pages()])
def test_the_page_can_be_followed(
    page: Path, tmp_path: Path, tools: Tools, server: LocalServer, model: dict[str, str]
) -> None:
    """Each program and command of a page succeeds without warnings, and traces sent by `init()` arrive."""
    project = name_of(page).replace("/", " ")
    settings = {**server.environment(project), "PANDAPROBE_SHUTDOWN_TIMEOUT": "30"}
    environment = {**clean_environment(tmp_path), **model, **settings, "PYTEST_ADDOPTS": PYTEST_OPTIONS}
    with Reader(tools, tmp_path / "reader", environment) as reader:
        for step in steps_here(page):
            ran = reader.follow(step)
            if ran is not None:
                assert ran.code == 0, f"{ran.step}\n{ran.out}\n{ran.err}"
            if isinstance(step, Program) and ran is not None:
                said = [line for line in ran.err.splitlines() if not line.startswith("pandaprobe: ")]  # progress lines
                assert said == [], f"{ran.step}\n{ran.err}"
    if page.stem not in SEND_NOTHING and any(isinstance(step, Program) for step in steps_here(page)):
        with Client(server.api_key, project, server.url) as client:
            assert client.traces.list(limit=1).items


@pytest.mark.parametrize("block", [block for page in pages() for block in blocks(page)], ids=str)
def test_the_block_is_of_a_known_kind(block: Block) -> None:
    """A block has a known language and a reason if it is not run; Python that is not run compiles."""
    assert block.language in (*RUN, *SHOWN)
    if block.not_run is not None:
        assert len(block.not_run) > 10
    if block.language == "python" and not block.is_example:
        compile(block.text, str(block), "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
