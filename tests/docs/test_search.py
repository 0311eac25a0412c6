"""A search of the documentation in users' own words finds the page that answers."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import pytest
import yaml

from doc_blocks import DOCS, ROOT

TASKS_OF_USERS: Final = {
    "distributed trace": "distributed-tracing.md",
    "FastAPI": "web-frameworks.md",
    "Django": "web-frameworks.md",
    "unit test my agent": "evaluation.md",
    "Celery": "queues.md",
    "Lambda": "serverless.md",
    "Jupyter notebook": "notebooks.md",
    "log correlation": "log-correlation.md",
    "OpenTelemetry Collector": "collector.md",
    "TypeScript": "other-languages.md",
    "PII": "privacy.md",
    "rate limit": "shared-limit.md",
    "nothing arrives": "troubleshooting.md",
    "migrate from LangSmith": "migration/langsmith.md",
    "custom metric": "metrics.md",
    "compare with Langfuse": "comparison.md",
}
"""Users' words, and the page that a search must list first."""
BOOSTS: Final = {"title": 10.0, "headings": 3.0, "text": 1.0}
LONGEST_PAGE_WORDS: Final = 1500
WRITTEN_TABLES: Final = frozenset({"dialects.md", "providers.md"})
"""Reference tables that scripts write, with one row for each attribute or case, too long to read from end to end."""
_WITHOUT_MEANING: Final = frozenset(
    re.findall(r"\w+", "a an and are as by for from in is it my of on or the to with you your"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A page as a search index: the number of times that its title, headings and text have each word."""

    path: str
    fields: Mapping[str, Counter[str]]


def words(text: str) -> list[str]:
    """Return the stems of a text's words, without articles, prepositions and the like."""
    return [stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _WITHOUT_MEANING]


def stem(word: str) -> str:
    """Return a word without its ending, roughly as Lunr does: tracing, traces and traced have one stem."""
    for ending in ("ing", "ies", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


@cache
def index() -> tuple[Entry, ...]:
    """Return an entry for each page that a search may list."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
    return tuple(
        _entry(path.relative_to(DOCS).as_posix(), text) for path, text in texts.items() if "exclude: true" not in text
    )


def ranked(query: str) -> list[str]:
    """Return the pages that match a query, best first, with BM25 for each field, weighted as in Lunr."""
    scores: dict[str, float] = defaultdict(float)
    for field, boost in BOOSTS.items():
        lengths = {page.path: page.fields[field].total() for page in index()}
        mean = sum(lengths.values()) / len(lengths)
        for word in words(query):
            found = {page.path: page.fields[field][word] for page in index() if word in page.fields[field]}
            rarity = math.log(1 + (len(lengths) - len(found) + 0.5) / (len(found) + 0.5))
            for path, often in found.items():
                scores[path] += boost * rarity * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * lengths[path] / mean))
    return sorted(scores, key=lambda path: -scores[path])


@pytest.mark.parametrize(("query", "path"), TASKS_OF_USERS.items())
def test_words_of_users_find_the_page(query: str, path: str) -> None:
    """A search for users' words lists the page that answers first."""
    assert ranked(query)[0] == path


def test_each_task_of_the_start_page_is_found_in_its_own_words() -> None:
    """A search for the words of a task on the start page lists a page of that task's row first."""
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\[.+) \|$", text, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\|", text, re.MULTILINE)) - 2 > 20, "a row has no link"
    found = {task: (ranked(task)[0], re.findall(r"\]\(([^)]+)\)", links)) for task, links in rows}
    assert {task: first for task, (first, links) in found.items() if first not in links} == {}


def test_pages_are_short() -> None:
    """A page has at most 1,500 words."""
    pages = (path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).as_posix() not in WRITTEN_TABLES)
    lengths = {path.relative_to(DOCS).as_posix(): len(path.read_text(encoding="utf-8").split()) for path in pages}
    assert {path: length for path, length in lengths.items() if length > LONGEST_PAGE_WORDS} == {}


def test_the_documentation_has_four_groups() -> None:
    """The navigation has the start page and the groups of tutorials, guides, reference and explanation."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert [next(iter(group)) for group in config["nav"]] == [
        "Start",
        "Tutorials",
        "Guides",
        "Reference",
        "Explanation",
    ]


def _entry(path: str, text: str) -> Entry:
    title, *headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.M)
    fields = {"title": title, "headings": " ".join(headings), "text": text}
    return Entry(path=path, fields={name: Counter(words(found)) for name, found in fields.items()})
