"""The tables of dialects: a dialect is data, a new one is one file and one line, and their page is up to date."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pandaprobe_otel
from pandaprobe_otel.mapping.dialect_table import CONTENT_FIELDS, CONTEXT_FIELDS, GROUPS, MERGED_FIELDS
from pandaprobe_otel.mapping.precedence import DIALECTS, ORDER

PACKAGE = Path(pandaprobe_otel.__file__).parent
SCRIPTS = Path(__file__).parents[2] / "scripts"
ACME = '''
"""A vendor that nobody has heard of."""

from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row
from pandaprobe_otel.mapping.values import count, decoded, text

DIALECT = Dialect(
    name="acme",
    title="Acme",
    namespaces=("acme.",),
    kinds=(KindRule("acme.what", {"think": "LLM", "do": "TOOL"}, states=True),),
    rows=(
        Row("input", ("acme.heard",), decoded, form="messages"),
        Row("output", ("acme.said",), decoded, "what it said", form="messages"),
        Row("model", ("acme.brain",), text),
        Row("usage.prompt", ("acme.tokens.in",), count),
        Row("usage.completion", ("acme.tokens.out",), count),
        Row("metadata.acme_mood", ("acme.mood",), text),
        Row("session_id", ("acme.chat",), text),
    ),
)
'''
PROGRAM = """
import json
from docs_pages.dialects_page import page
from pandaprobe_otel.mapping import SpanView, map_views
from pandaprobe_otel.mapping.kinds import is_genai
view = SpanView("x", 1, 2, start_ns=1, end_ns=2, attributes={
    "acme.what": "think", "acme.brain": "acme-1", "acme.heard": '[{"role": "user", "content": "Hi"}]',
    "acme.said": "Hello", "acme.tokens.in": 3, "acme.tokens.out": 2, "acme.mood": "good", "acme.chat": "c-1",
})
print(json.dumps({"body": map_views([view]).body(), "genai": is_genai(view), "page": page()}))
"""


@pytest.fixture(scope="module")
def with_acme(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a new vendor's span as mapped by a copy of this library with one more file and one more line."""
    copy = tmp_path_factory.mktemp("library") / "pandaprobe_otel"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "local", "cli"))
    dialects = copy / "mapping" / "dialects"
    (dialects / "acme.py").write_text(ACME, encoding="utf-8")
    listed = copy / "mapping" / "precedence.py"
    before = listed.read_text(encoding="utf-8")
    listed.write_text(before.replace('    "otel_genai",\n', '    "acme",\n    "otel_genai",\n'), encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(copy.parent), str(SCRIPTS)))}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ, cwd=copy.parent, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def test_a_new_dialect_is_one_file_and_one_line(with_acme: dict[str, Any]) -> None:
    """With its new dialect, the vendor's span has kind, content, model, tokens, metadata and session."""
    body = with_acme["body"]
    (span,) = body["spans"]
    assert (span["kind"], span["model"], span["metadata"]["acme_mood"]) == ("LLM", "acme-1", "good")
    assert span["input"] == {"messages": [{"role": "user", "content": "Hi"}]}
    assert span["output"] == body["output"] == {"messages": [{"role": "assistant", "content": "Hello"}]}
    assert span["token_usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert body["session_id"] == "c-1"
    assert with_acme["genai"] is True
    assert "attributes" not in span["metadata"]


def test_every_dialect_is_listed_once_under_its_own_name() -> None:
    """Every module of a dialect is listed once, under its own name; an unlisted one would never be used."""
    modules = {path.stem for path in (PACKAGE / "mapping" / "dialects").glob("*.py")} - {"__init__"}
    assert sorted(ORDER) == sorted(modules)
    assert tuple(dialect.name for dialect in DIALECTS) == ORDER
    assert len({dialect.title for dialect in DIALECTS}) == len(DIALECTS)


def test_rows_name_fields_that_exist() -> None:
    """Every row names an existing field; a misspelt one would silently fill nothing."""
    known = {
        *CONTENT_FIELDS, *CONTEXT_FIELDS, *MERGED_FIELDS, "tool_name", "display_name", "rendered_name",
        "function_id", "operation_id",
        "model", "cost", "cached", "error.own", "error.text", "error_type", "error.flag", "outcome", "first_token_ns",
        "first_token_after", "first_token_event", "root_tags",
    }  # fmt: skip
    fields = {row.field for dialect in DIALECTS for row in dialect.rows}
    fields |= {event.field for dialect in DIALECTS for event in dialect.events}
    assert {field for field in fields - known if field.partition(".")[0] not in GROUPS} == set()


@pytest.mark.parametrize("module", ["pandaprobe_otel.mapping", "pandaprobe_otel.mapping.clean"])
def test_importing_the_mapping_costs_little(module: str) -> None:
    """The mapping imports no HTTP client, no models and no SDK, because instrumented processes import it."""
    program = f"""
import sys
before = set(sys.modules)
import {module}
from pandaprobe_otel.mapping import map_views
from pandaprobe_otel.mapping.kinds import kind_of
print(sorted(name for name in set(sys.modules) - before if name.partition(".")[0] in
      ("httpx", "pydantic", "opentelemetry", "fastapi", "requests", "rich", "click", "yaml")))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
