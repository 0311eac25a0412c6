"""One word for one thing: the glossary of CONTRIBUTING.md, the names of modules, and the beginnings of docstrings."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import pandaprobe_otel
from pandaprobe_otel import evals, local

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = (ROOT / "pandaprobe_otel", ROOT / "integrations" / "pandaprobe_otel_integrations")
EVERYTHING: Final = (*SOURCE, *(ROOT / name for name in ("scripts", "benchmarks", "examples", "tests")))
_QUESTION: Final = re.compile(r'^\s*r?"""(?:What|Whether|How|Where|Who|Which|When|There)\b.*', re.MULTILINE)

METAPHORS: Final = frozenset(
    {
        "at_once", "begun", "bench", "details", "door", "first_sights", "flows", "in_band", "keeper", "late_patches",
        "look", "page", "pieces", "place", "readings", "reserve", "shares", "standing_in", "steady", "sums",
        "turns", "whole",
    }
)  # fmt: skip
"""Names that do not tell a newcomer what the module holds. `pages`, `media` and the like do."""
TO_BE_RENAMED: Final = frozenset(
    {
        "demo/turns.py", "gateway/turns.py", "mapping/details.py", "mapping/page.py", "mapping/pieces.py",
        "mapping/steady.py", "replay/answers/pieces.py", "replay/flows.py", "sdk/pieces.py",
    }
)  # fmt: skip
"""Modules that have such a name still. No further one may be added."""
LITERAL: Final = frozenset({"compact/turns.py"})
"""Modules whose name is the glossary's word."""

SAME_THING: Final = {
    "a resource of PandaProbe's API, in the client, the command line and the local server": (
        "analytics evaluations management monitors organizations projects scores sessions traces"
    ),
    "a protocol of model services": (
        "blocks chat chat_stream cohere completions converse gemini http ollama protocol protocols responses"
    ),
    "the same part of several integrations": (
        "agent_turns api arguments batches call descriptions documents endings endpoint endpoints functions hooks "
        "integration kinds live model_call model_calls native parts paths processor provider scopes sockets steps "
        "tool_loop tool_runner tools tracer usage workflows"
    ),
    "a run of an agent, of a task or of an evaluation, in each room that has some": "run runs",
    "messages of a conversation, and the conversation itself": "conversation conversations messages",
    "requests and answers, in each room that reads or writes them": "answers asked media requests wire",
    "a part of a span or trace, in each room that reads or writes it": (
        "content fields kinds outcome parameters shape spans times tree values"
    ),
    "a client, a connection or a server": "access app client connection connections server service settings",
    "errors and failures": "errors failures guard refusals",
    "tables and files of a database": "rows schema store",
    "the same command, and what it does": "checks markdown options otlp_json progress report rerun verdict view",
    "construction of a pipeline's parts from the settings": "setup",
    "limits, each of its own room": "budget",
    "enumerations of the API": "enums",
    "values that are left over": "rest",
    "reading or decoding of streams and bodies": "decoding reading",
    "background work": "waiting worker",
    "LangSmith": "langsmith",
    "base classes": "base",
    "texts of a trace, an overview or a comparison, for people and for agents": "comparison overview",
    "findings in a trace, results of tools and of metrics": "findings results",
    "export of spans or traces": "export",
    "words of texts": "words",
    "rates and bodies that arrive": "arrivals",
    "scores and documents of judges and classifiers": "judged",
}
"""Module names that stand several times, by the one meaning that they share."""
DIFFERENT_THINGS: Final = frozenset({"pieces", "turns"})
"""Module names that stand for different things still; see `TO_BE_RENAMED`."""


def modules() -> dict[str, list[str]]:
    """Return the paths of the modules by name, without leading underscores."""
    found: dict[str, list[str]] = defaultdict(list)
    for root in SOURCE:
        for path in root.rglob("*.py"):
            if not path.stem.startswith("__"):
                found[path.stem.lstrip("_")].append(path.relative_to(root).as_posix())
    return found


def test_no_docstring_begins_with_a_question() -> None:
    """A docstring begins with a verb (functions) or a noun (values, classes, modules)."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group().strip()}"
        for root in EVERYTHING
        for path in sorted(root.rglob("*.py"))
        for match in _QUESTION.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_a_question_would_be_found() -> None:
    """The pattern finds docstrings of one line and of several, and leaves whole words alone."""
    assert _QUESTION.search('    """What it says."""')
    assert _QUESTION.search('x = 1\n"""Whether it is open.\n\nMore.\n"""')
    assert not _QUESTION.search('"""Whole lines."""')


def test_no_module_has_an_opaque_name() -> None:
    """A module's name tells its content to somebody who has not read it."""
    opaque = {path for name in METAPHORS for path in modules().get(name, ())}
    assert opaque - TO_BE_RENAMED - LITERAL == set()


def test_no_public_name_is_a_metaphor() -> None:
    """Users meet the words of the glossary."""
    names = {*pandaprobe_otel.__all__, *evals.__all__, *local.__all__}
    parts = {part.lower() for name in names for part in re.findall(r"[A-Z]?[a-z]+", name)}
    assert parts & METAPHORS == set()


def test_a_module_name_has_one_meaning() -> None:
    """A name that stands several times is in the table, with the meaning that its modules share."""
    shared = {name for words in SAME_THING.values() for name in words.split()}
    several = {name for name, paths in modules().items() if len(paths) > 1}
    assert several - shared - DIFFERENT_THINGS == set()


def test_the_glossary_has_one_meaning_for_each_word() -> None:
    """CONTRIBUTING.md explains thirty words, in alphabetical order, each once and in one sentence."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    glossary = text.partition("## Words\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \*\*([^*]+)\*\* \| (.+) \|$", glossary, re.MULTILINE)
    words = [word for word, _ in rows]
    assert len(words) >= 30
    assert words == sorted(set(words))
    assert [meaning for _, meaning in rows if len(meaning.split()) > 40] == []
