"""The coverage of the documentation: every public name, and up-to-date generated parts."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import pandaprobe_otel
import write_docs
from doc_blocks import DOCS, ROOT, blocks
from pandaprobe_otel import errors, evals, local, registry
from pandaprobe_otel.mapping.options import SWITCHES

REFERENCE: Final = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))
WRITTEN_BY_HAND: Final = "\n".join(
    page.read_text(encoding="utf-8")
    for page in DOCS.glob("**/*.md")
    if page.stem != "settings" and page.parent.name not in ("api", "command-line")
)


@pytest.mark.parametrize(("path", "text"), write_docs.written().items())
def test_generated_pages_in_the_repository_are_up_to_date(path: str, text: str) -> None:
    """The generated pages in version control are those that `make docs` would write."""
    assert (ROOT / path).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", [name for name in pandaprobe_otel.__all__ if name not in ("PandaProbeError",)])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    """The reference has each public name, as a directive or in the text."""
    assert f"::: pandaprobe_otel.{name}\n" in f"{REFERENCE}\n" or f"`{name}`" in REFERENCE


def test_every_public_name_is_in_the_groups() -> None:
    """The tables of docs/public-names.md have each public name."""
    page = (DOCS / "public-names.md").read_text(encoding="utf-8").partition("\n## Names that look")[0]
    rows = "".join(line for line in page.splitlines() if line.startswith("|"))
    assert set(pandaprobe_otel.__all__) - set(re.findall(r"`(\w+)`", rows)) == set()


def test_help_explains_each_argument_of_init() -> None:
    """`help(init)` has a line for each argument, in the order of the signature."""
    arguments = re.findall(r"^    (\w+): .{10}", inspect.getdoc(pandaprobe_otel.init) or "", re.MULTILINE)
    assert arguments == [*inspect.signature(pandaprobe_otel.init).parameters, "ConfigError"]


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in (evals, local) for name in module.__all__ if name != "evaluate"]
)
def test_every_name_of_a_public_module_is_in_the_reference(module: ModuleType, name: str) -> None:
    """The reference has the names that users import from `pandaprobe_otel.evals` and `.local`."""
    assert f"::: {module.__name__}.{name}\n" in f"{REFERENCE}\n"


def test_the_directives_of_the_reference_can_be_imported() -> None:
    """Each directive of the reference is an object that can be imported."""
    for path in re.findall(r"^::: ([\w.]+)", REFERENCE, re.MULTILINE):
        home, _, name = path.rpartition(".")
        found = import_module(home) if home == "pandaprobe_otel" or "." in home else None
        assert hasattr(found, name), path


def test_every_error_is_explained_in_prose() -> None:
    """The client page has each error that clients raise."""
    raised = [name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)]
    assert [name for name in raised if name not in WRITTEN_BY_HAND and name not in ("MissingKey",)] == []


@pytest.mark.parametrize("name", registry.INTEGRATIONS)
def test_every_page_of_an_integration_shows_a_program(name: str) -> None:
    """An integration's page has one short program with `pandaprobe_otel.init()`; `nox -s extras` runs it."""
    page = DOCS / "integrations" / f"{name}.md"
    (program,) = (block.text for block in blocks(page) if block.language == "python")
    assert "pandaprobe_otel.init()\n" in program
    assert len(program.splitlines()) <= 27


def test_every_foreign_switch_is_documented() -> None:
    """The privacy page lists the variables of other libraries that we obey, and no others."""
    page = (DOCS / "privacy.md").read_text(encoding="utf-8")
    listed = page.partition("<!-- switches -->")[2].partition("<!-- end of switches -->")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == {switch.name for switch in SWITCHES}


def test_every_option_of_pytest_is_documented() -> None:
    """The evaluation page names each option of the pytest plugin."""
    page = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    plugin = Path(import_module("pandaprobe_otel.pytest_plugin").__file__ or "").read_text(encoding="utf-8")
    options = set(re.findall(r"\"(--pandaprobe[\w-]*)", plugin))
    assert options
    assert [option for option in options if option not in page] == []


def test_every_room_is_in_the_architecture() -> None:
    """ARCHITECTURE.md has each module and package of the library, and each folder beside it."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = Path(pandaprobe_otel.__file__).parent
    rooms = [
        *(path.name for path in package.glob("*.py")),
        *(f"{path.parent.name}/" for path in package.glob("*/__init__.py")),
    ]
    beside = ("docs/", "examples/", "benchmarks/", "scripts/", "tests/")
    assert [room for room in (*rooms, *beside) if f"`{room}" not in text] == []


WRITTEN_TABLES: Final = frozenset({"command-line/evals.md", "dialects.md", "providers.md"})
"""Reference tables that scripts write, with a row for each attribute, option or case: nobody reads them as a whole."""


def test_pages_are_short() -> None:
    """A page has at most 1,500 words."""
    pages = (path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).as_posix() not in WRITTEN_TABLES)
    lengths = {path.relative_to(DOCS).as_posix(): len(path.read_text(encoding="utf-8").split()) for path in pages}
    assert {path: length for path, length in lengths.items() if length > 1500} == {}


IN_THE_WHEEL: Final = "pandaprobe_otel/demo/quickstart.py"


def test_every_path_in_the_architecture_is_there() -> None:
    """Every path of a file or folder in ARCHITECTURE.md exists."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    homes = (ROOT, ROOT / "pandaprobe_otel", Path(pandaprobe_otel.__file__).parent)
    named = [path for path in re.findall(r"`([\w./]+(?:\.py|/))`", text) if path != IN_THE_WHEEL]
    assert named
    assert [path for path in named if not any((home / path).exists() for home in homes)] == []
