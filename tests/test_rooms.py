"""Order of the rooms, the subpackages that ARCHITECTURE.md explains."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pandaprobe_otel
import pandaprobe_otel_integrations

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pandaprobe_otel.__file__).parent
SOURCES = {
    ".".join(path.relative_to(top.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for top in (PACKAGE, Path(pandaprobe_otel_integrations.__path__[0]))
    for path in sorted(top.rglob("*.py"))
}
"""Our modules, by name."""
ORDER = (
    {"enums", "errors"},
    {"config", "process"},
    {"mapping"},
    {"protocols", "traces"},
    {"transport"},
    {"delivery"},
    {"assembly", "reporting"},
    {"pipeline"},
    {"sdk"},
)
"""Rooms from the lowest up. A room imports itself and lower rooms; the lowest modules may import each other."""
BESIDE = {"sdk": {"capture"}}
"""Rooms outside `ORDER` that a room may import."""


def level(room: str) -> int | None:
    """Return the index of a room in `ORDER`; None for a room outside it, such as the command line."""
    return next((index for index, rooms in enumerate(ORDER) if room in rooms), None)


@cache
def names_in(path: Path) -> set[str]:
    """Return what a module imports, also within functions and for type checkers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def imported(path: Path) -> set[str]:
    """Return the rooms that a module imports."""
    parts = [name.split(".") for name in names_in(path)]
    return {room for package, room, *_ in (one for one in parts if len(one) > 1) if package == "pandaprobe_otel"}


def test_no_module_of_the_way_of_a_span_imports_upwards() -> None:
    """A module imports only its own room and lower ones, so a reader needs to know no others."""
    upwards: list[str] = []
    seen: set[str] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        here = level(room)
        if here is None:
            continue
        seen.add(room)
        for other in imported(path):
            there = level(other)
            is_lower = there is not None and (there < here or here == 0)
            if not (other == room or is_lower or other in BESIDE.get(room, ())):
                upwards.append(f"{path.relative_to(PACKAGE)} imports {other}")

    assert upwards == []
    assert seen == set().union(*ORDER)


def test_only_rooms_above_the_local_server_import_it() -> None:
    """Reading, comparing and replaying traces works with any PandaProbe."""
    below = {"traces", "failures", "compact", "replay", "api", "gateway", "evals", "judge"}
    found = [
        str(path.relative_to(PACKAGE))
        for room in sorted(below)
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if "local" in imported(path)
    ]
    assert found == []


def modules_of(path: Path) -> set[str]:
    """Return the modules of ours that a module imports."""
    return names_in(path) & SOURCES.keys()


INSIDE = {
    "api/test_calls_in_time.py": "the budget of requests, with a clock of its own",
    "cli/test_api_commands.py": "the whole command line in this process, and its exit codes",
    "cli/test_app.py": "the whole command line in this process, and its exit codes",
    "delivery/spool/test_damage.py": "files that are damaged by hand",
    "delivery/spool/test_folder.py": "the lease by which another process holds a file",
    "delivery/spool/test_lease_file.py": "properties of leases under processes that die",
    "delivery/spool/test_recovery.py": "the lock that a dying process leaves",
    "delivery/test_redis_leases.py": "properties of the script in Redis, against a model",
    "delivery/test_redis_tokens.py": "properties of the script in Redis, against a model",
    "evals/test_outcomes.py": "exit codes as names",
    "evals/test_plugin_trouble.py": "routes of a server that fails",
    "evals/test_progress.py": "lines by the clock",
    "evals/test_repetition.py": "properties of statistics, against published tables",
    "failures/test_find.py": "properties of templates of messages",
    "gateway/test_json.py": "OTLP in JSON, against Protobuf",
    "integrations/conformance/test_forgotten_streams.py": "what stays open, which nothing shows",
    "integrations/test_claude_agent_sdk.py": "messages of programs of other versions",
    "integrations/test_open_streams_at_exit.py": "what stays open, which nothing shows",
    "integrations/test_openai_hooks.py": "what stays open, which nothing shows",
    "integrations/test_runs_of_events.py": "properties of merged streams",
    "local/pages/test_content.py": "properties of JSON as HTML",
    "local/test_failures.py": "groups of a hundred thousand traces in a second",
    "local/test_server.py": "a database of another version",
    "mapping/test_conservation.py": "properties over all rows of the dialects",
    "mapping/test_kinds.py": "properties over all rows of the dialects",
    "mapping/test_prices.py": "the mark of a computed cost",
    "mapping/test_privacy.py": "properties over all rows of the dialects",
    "mapping/test_properties.py": "properties over all rows of the dialects",
    "mapping/test_views.py": "properties over all rows of the dialects",
    "replay/test_faults.py": "the functions of `pandaprobe_otel.replay.fault`, which are public",
    "replay/test_fork.py": "a module that two threads must not compile at once",
}
"""Files of tests that import modules which no other room uses, and why: what no door shows within seconds."""


def test_tests_go_through_doors() -> None:
    """Tests import the modules that another room, an example or a documented page uses, apart from `INSIDE`.

    The other modules are left alone, so that a room can be rebuilt with its tests as they are.
    """
    doors = {
        found
        for module, path in SOURCES.items()
        for found in modules_of(path)
        if found.split(".")[:2] != module.split(".")[:2]
    }
    doors |= {found for path in (ROOT / "examples").glob("*.py") for found in modules_of(path)}
    pages = (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    doors |= {found for page in pages for found in re.findall(r"pandaprobe_otel(?:\.\w+)+", page.read_text("utf-8"))}
    inside = {module for module in SOURCES.keys() - doors if module.count(".") > 1}
    tests = ROOT / "tests"
    files = {str(path.relative_to(tests)) for path in tests.rglob("test_*.py") if modules_of(path) & inside}

    assert files == INSIDE.keys()
    assert len(files) <= 40


def test_no_package_imports_its_own_modules() -> None:
    """Two threads could deadlock if one imports a package and the other a module of the same package.

    The package itself has to load the guard of its lazy names, and nobody imports that module first.
    """
    eager = [
        f"{package} imports {node.module}"
        for path in sorted(PACKAGE.rglob("__init__.py"))
        for package in [".".join((PACKAGE.name, *path.parent.relative_to(PACKAGE).parts))]
        for node in ast.parse(path.read_text(encoding="utf-8")).body  # nested imports run later or never
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}.")
    ]

    assert eager == ["pandaprobe_otel imports pandaprobe_otel.process.forks"]


EVERYTHING = (
    PACKAGE,
    Path(pandaprobe_otel_integrations.__path__[0]),
    *(ROOT / name for name in ("scripts", "benchmarks", "examples", "tests")),
)
_QUESTION = re.compile(r'^\s*r?"""(?:What|Whether|How|Where|Who|Which|When|There)\b.*', re.MULTILINE)


def test_no_docstring_begins_with_a_question() -> None:
    """A docstring begins with a verb (functions) or a noun (values, classes, modules)."""
    found = [
        f"{path}: {match.group().strip()}"
        for root in EVERYTHING
        for path in sorted(root.rglob("*.py"))
        for match in _QUESTION.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
