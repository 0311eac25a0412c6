"""Consistent words: the glossary of CONTRIBUTING.md, the names of modules, and the beginnings of docstrings."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import pandaprobe_otel
import pandaprobe_otel_integrations
from pandaprobe_otel import evals, local

ROOT: Final = Path(__file__).parents[1]
# The imported packages: the tests also run with the installed wheel, without the sources.
SOURCE: Final = tuple(Path(package.__path__[0]) for package in (pandaprobe_otel, pandaprobe_otel_integrations))
EVERYTHING: Final = (*SOURCE, *(ROOT / name for name in ("scripts", "benchmarks", "examples", "tests")))
_QUESTION: Final = re.compile(r'^\s*r?"""(?:What|Whether|How|Where|Who|Which|When|There)\b.*', re.MULTILINE)

OPAQUE: Final = frozenset(
    {
        "acting", "activity", "alike", "as_traced", "asked", "asked_key", "at_once", "begun", "bench", "beside",
        "causes", "consequences", "daily", "decide", "declared", "details", "direct", "door", "exits", "facts",
        "families", "first_sights", "fitting", "floors", "flows", "foreign", "heard", "hurry", "in_band",
        "incoming", "judged", "judgements", "keeper", "late_patches", "life", "look", "numbered", "page",
        "pieces", "place", "places", "plan", "readings", "refused", "reserve", "rest", "scrubbed",
        "shape_compiler", "shares", "standing_in", "steady", "stored", "sums", "taps", "turns", "units",
        "whole", "words",
    }
)  # fmt: skip
"""Module names that do not tell a newcomer what the module contains; names like `pages` and `media` do."""
OF_THE_GLOSSARY: Final = frozenset({"compact/turns.py"})
"""Modules whose name is a word of the glossary."""

SAME_THING: Final = {
    "a resource of PandaProbe's API, in the client, the command line and the local server": (
        "analytics evaluations management monitors organizations projects scores sessions traces"
    ),
    "a protocol of model services, in the integrations, the recordings and the demonstration": (
        "blocks chat chat_stream cohere completions converse decisions gemini live_sessions moderations ollama"
        " protocols responses"
    ),
    "the same part of several integrations": (
        "agent_turns answered_tools api batches descriptions endings endpoints hooks integration model_call"
        " model_calls native paths scopes sockets tool_loop tool_runner tracer workflows"
    ),
    "a run of an agent, of a task or of an evaluation": "run runs",
    "messages of a conversation, and the conversation itself": "conversation conversations messages",
    "a part of a span or trace, where it is read or written": "content kinds parts times usage values",
    "the arguments of a call, and the parameters of a request": "arguments parameters",
    "tool calls": "tools",
    "pictures, sound and files in messages": "media",
    "descriptions of an API's endpoint, and the types of its fields": "endpoint enums fields",
    "the client of the API": "client",
    "start and stop of a server": "server",
    "tokens and passwords that open a server": "access",
    "settings": "options settings",
    "exceptions and refusals of a room": "errors",
    "faults of this library, which end there": "guard",
    "groups of failures": "failures",
    "spans that run, as a local server is told of them": "live",
    "a span processor": "processor",
    "a command, and the work that it does": "report rerun",
    "progress of an evaluation": "progress",
    "tables of a database": "schema",
    "decompression of bodies": "decoding",
    "a wait for the server": "waiting",
    "a background thread": "worker",
    "a format of traces": "markdown otlp_json",
    "base classes": "base",
}
"""Module names that are used several times, by the single meaning that the modules share."""
LIBRARIES_IN_TESTS: Final = {
    "anthropic", "bedrock", "cohere", "google_genai", "groq", "litellm", "mistralai", "ollama", "openai", "stainless",
    "together",
}  # fmt: skip
"""Names of modules in `tests/support` that several suites use for the same library."""


def modules(*roots: Path) -> dict[str, list[str]]:
    """Return the paths of the modules by name, without leading underscores."""
    found: dict[str, list[str]] = defaultdict(list)
    for root in roots:
        for path in root.rglob("*.py"):
            if not path.stem.startswith("__"):
                found[path.stem.lstrip("_")].append(path.relative_to(root).as_posix())
    return found


def test_no_docstring_begins_with_a_question() -> None:
    """A docstring begins with a verb (functions) or a noun (values, classes, modules)."""
    found = [
        f"{path}: {match.group().strip()}"
        for root in EVERYTHING
        for path in sorted(root.rglob("*.py"))
        for match in _QUESTION.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_module_has_an_opaque_name() -> None:
    """A module's name shows its content to a reader who does not know the module."""
    named = modules(*EVERYTHING)
    assert {path for name in OPAQUE for path in named.get(name, ())} - OF_THE_GLOSSARY == set()


def test_no_public_name_is_opaque() -> None:
    """No part of a public name is an opaque word."""
    names = {*pandaprobe_otel.__all__, *evals.__all__, *local.__all__}
    parts = {part.lower() for name in names for part in re.findall(r"[A-Z]?[a-z]+", name)}
    assert parts & OPAQUE == set()


def test_a_module_name_has_one_meaning() -> None:
    """`SAME_THING` lists exactly the module names that are used several times."""
    several = {name for name, paths in modules(*SOURCE).items() if len(paths) > 1}
    shared = [name for words in SAME_THING.values() for name in words.split()]
    assert sorted(several) == sorted(shared)


def test_a_module_of_the_tests_has_one_meaning() -> None:
    """Modules in `tests/support` have different names, except those named after a library."""
    several = {name for name, paths in modules(ROOT / "tests" / "support").items() if len(paths) > 1}
    assert several == LIBRARIES_IN_TESTS


def test_the_glossary_has_one_meaning_for_each_word() -> None:
    """CONTRIBUTING.md explains at least thirty words, in alphabetical order, each once and in at most forty words."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    glossary = text.partition("## Words\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \*\*([^*]+)\*\* \| (.+) \|$", glossary, re.MULTILINE)
    words = [word for word, _ in rows]
    assert len(words) >= 30
    assert words == sorted(set(words))
    assert [meaning for _, meaning in rows if len(meaning.split()) > 40] == []
