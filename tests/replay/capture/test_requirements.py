"""A trace that lacks required data makes no test, and the error names the span."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.replay.cannot_capture import CannotCapture
from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace
from pandaprobe_otel.replay.capture.write import OWN_CHOICE, Wishes, capture
from stored_traces import call, identity, span, tool, trace

GOOD = call(1, 2, said="Here.")
PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
REFUSED: dict[str, tuple[StoredTrace, str]] = {
    "no spans": (StoredTrace({"trace_id": "1", "name": "n", "started_at": "", "spans": []}), "sampled out"),
    "nothing to answer": (trace(), "no model or tool call"),
    "not captured": (
        trace({**GOOD, "input": None, "output": None, "metadata": {"provider": "openai"}}),
        "not captured",
    ),
    "no messages": (trace({**GOOD, "input": None}), "has no messages"),
    "masked": (trace(call(1, 2, said="Call [masked] now.")), "the answer is masked"),
    "cut": (trace(call(1, 2, said="Call …[cut 90 of 100 characters]")), "the answer is cut off"),
    "a picture": (trace(call(1, 2, said=PICTURE)), "other than text (image_url)"),
    "not ended": (trace(GOOD, span("step", "CHAIN", 3, None)), "has not ended"),
    "a missing parent": (trace(GOOD, span("step", "CHAIN", 3, 4, parent_span_id="gone")), "is missing"),
    "two roots": (trace(GOOD, span("other", "AGENT", 3, 4, parent_span_id=None)), "several roots"),
    "two services": (
        trace(GOOD, *(span(name, "CHAIN", 3, 4, metadata={"service.name": name}) for name in ("a", "b"))),
        "crosses processes (a, b)",
    ),
    "an unknown protocol": (trace(call(1, 2, said="x", metadata={"provider": "replicate"})), "replicate"),
    "vectors": (trace(GOOD, span("embed", "EMBEDDING", 3, 4)), "vectors"),
    "a masked result": (trace(GOOD, tool("look_up", 3, 4, {}, output="[masked]")), "its result is masked"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_reason_is_said(name: str, tmp_path: Path) -> None:
    """The error has the reason, and no file is written."""
    refused, reason = REFUSED[name]
    with pytest.raises(CannotCapture) as error:
        capture([refused], tmp_path / "test_it.py", Wishes(folder=tmp_path))
    assert reason in str(error.value)
    assert list(tmp_path.iterdir()) == []


def _captured(made: StoredTrace, folder: Path, **wishes: Any) -> tuple[str, tuple[str, ...]]:
    done = capture([made], folder / "test_it.py", Wishes(folder=folder, **wishes))
    text = done.test.read_text(encoding="utf-8")
    compile(text, "test_it.py", "exec")
    return text, done.notes


def test_embeddings_within_a_tool_are_never_made(tmp_path: Path) -> None:
    """Embeddings made within a tool are not replayed, because the whole tool is replayed."""
    inner = {**span("embed", "EMBEDDING", 3.2, 3.8), "parent_span_id": identity("search-3")}
    text, _ = _captured(trace(GOOD, tool("search", 3, 4, {"query": "q"}), inner), tmp_path)
    assert "tools=True" in text


def test_an_object_among_the_arguments_leaves_a_line(tmp_path: Path) -> None:
    """A trace has only the name of an object, so the test has a line to fill in."""
    made = trace(GOOD, input={"question": "Where?", "shop": "<app.Shop object at 0x7f83e805a090>"})
    text, notes = _captured(made, tmp_path)
    assert "# fill in: an argument" in text
    assert any("fill in the line" in note for note in notes)


def test_a_program_without_a_name_leaves_a_function(tmp_path: Path) -> None:
    """Without a known program, the test has a function to fill in; `--entry` names the program."""
    text, notes = _captured(trace(GOOD), tmp_path)
    assert "raise NotImplementedError" in text
    assert any("--entry" in note for note in notes)
    (tmp_path / "test_it.py").unlink()
    text, notes = _captured(trace(GOOD), tmp_path, entry="shop.agents:reply")
    assert "from shop.agents import reply" in text
    assert 'reply("Where?")' in text


def test_the_entry_of_the_project_counts_where_the_trace_names_none(tmp_path: Path) -> None:
    """`entry` under [tool.pandaprobe] names the program; its source shows its parameter and that it is async."""
    (tmp_path / "pyproject.toml").write_text('[tool.pandaprobe]\nentry = "shop:reply"\n', encoding="utf-8")
    (tmp_path / "shop.py").write_text("async def reply(question: str) -> str: ...\n", encoding="utf-8")
    text, _ = _captured(trace(GOOD), tmp_path)
    assert 'asyncio.run(reply(question="Where?"))' in text


def test_the_models_own_choice_is_said(tmp_path: Path) -> None:
    """If the failure was the model's own choice, a note explains that no recorded answer can fix it."""
    _, notes = _captured(trace(GOOD), tmp_path)
    assert OWN_CHOICE in notes


def test_a_test_that_is_there_stays(tmp_path: Path) -> None:
    """An existing test file is not overwritten, because it may have been edited."""
    _captured(trace(GOOD), tmp_path)
    with pytest.raises(FileExistsError):
        capture([trace(GOOD)], tmp_path / "test_it.py", Wishes(folder=tmp_path))


def test_secrets_do_not_reach_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of variables with secret names are removed from requests, answers, tools and the test itself."""
    secret = "hunter2-hunter2-hunter2"
    monkeypatch.setenv("SHOP_PASSWORD", secret)
    made = trace(
        call(1, 2, asked=f"My {secret}", said=f"Your {secret}"), tool("log_in", 3, 4, {"word": secret}), input=secret
    )
    done = capture([made], tmp_path / "test_it.py", Wishes(folder=tmp_path))
    text = done.cassette.read_text(encoding="utf-8") + done.test.read_text(encoding="utf-8")
    assert secret not in text
    assert "log_in" in text


def test_a_session_is_one_test_of_several_turns(tmp_path: Path) -> None:
    """A session becomes one test; the calls of a later turn come after those of an earlier one."""
    first, second = trace(GOOD), trace(call(21, 22, said="There."), input="And now?")
    second.body["spans"][0]["started_at"] = "2026-11-28T11:00:20Z"
    done = capture([second, first], tmp_path / "test_it.py", Wishes(entry="shop:reply", folder=tmp_path))
    text = done.test.read_text(encoding="utf-8")
    assert text.index('reply("Where?")') < text.index('reply("And now?")')
    assert "after: [1]" in done.cassette.read_text(encoding="utf-8")


def test_a_trace_without_a_root_span_is_its_own_root(tmp_path: Path) -> None:
    """A trace of the official SDK's `@trace`, which is around its spans and has no root span, becomes a test."""
    body = trace(GOOD, tool("look_up", 3, 4, {"a": 1})).body
    spans = [{**one, "parent_span_id": None} for one in body["spans"][1:]]
    whole = {
        **body,
        "spans": spans,
        "ended_at": "2026-11-28T11:00:50Z",
        "input": {"question": "Where?"},
        "output": "Here.",
    }
    done = capture([StoredTrace(whole)], tmp_path / "test_it.py", Wishes(entry="shop:reply", folder=tmp_path))
    assert 'reply(question="Where?")' in done.test.read_text(encoding="utf-8")
    assert (done.calls, done.tools) == (1, 1)
    with pytest.raises(CannotCapture, match="several roots"):
        capture([StoredTrace({**whole, "started_at": spans[0]["started_at"]})], tmp_path / "test_2.py", Wishes())
