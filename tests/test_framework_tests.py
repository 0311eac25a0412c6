"""What the tests with agent frameworks stand on: their environments, and the checks of a trace, which can fail."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent_traces import AgentTrace
from pandaprobe_otel.demo.completions import Reply
from pandaprobe_otel.demo.scripted_endpoint import Exchange, ScriptedEndpoint

FRAMEWORKS = Path(__file__).parent / "frameworks"


@pytest.fixture
def runner() -> ModuleType:
    """`run.py`, which is a program."""
    spec = importlib.util.spec_from_file_location("frameworks_run", FRAMEWORKS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    del sys.modules[spec.name]
    return module


def test_every_test_has_an_environment(runner: ModuleType) -> None:
    """No test file is left out, none runs twice, no environment is without tests, and `when` is one of two words."""
    known = runner.environments().values()
    ran = sorted(test for each in known for test in each.tests)
    assert ran == sorted(str(path) for path in FRAMEWORKS.glob("test_*.py"))
    assert [each.name for each in known if not each.tests or each.when not in ("ci", "nightly")] == []


def test_an_environment_without_tests_fails(runner: ModuleType) -> None:
    """A name that matches no file is a failure, not a success of nothing."""
    empty = runner.Environment(name="nothing", when="ci", requirements=())
    assert runner.tested(empty, Path(sys.executable), []) is False


def sound() -> tuple[dict[str, Any], list[Exchange]]:
    """A trace of an agent with one model call, and that call."""
    with ScriptedEndpoint(lambda _: Reply(text="Hello")) as endpoint:
        exchange = endpoint.answer({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    usage = {"prompt_tokens": exchange.usage.prompt_tokens, "completion_tokens": exchange.usage.completion_tokens}
    common = {"status": "OK", "ended_at": "2026-01-01T00:00:01Z"}
    agent = {"span_id": "a", "name": "agent", "kind": "AGENT", "parent_span_id": None, **common}
    call = {"span_id": "b", "name": "chat", "kind": "LLM", "parent_span_id": "a", "model": "m", **common}
    total = sum(usage.values())
    body = {"name": "agent", "status": "COMPLETED", "spans": [agent, {**call, "token_usage": usage}]}
    return {**body, "total_tokens": total}, [exchange]


def _forget_the_call(body: dict[str, Any]) -> None:
    del body["spans"][1]


def _call_twice(body: dict[str, Any]) -> None:
    body["spans"].append({**body["spans"][1], "span_id": "c"})


def _count_on_the_agent(body: dict[str, Any]) -> None:
    body["spans"][0]["token_usage"] = body["spans"][1]["token_usage"]


def _count_wrongly(body: dict[str, Any]) -> None:
    body["spans"][1]["token_usage"]["prompt_tokens"] += 1


def _lose_the_parent(body: dict[str, Any]) -> None:
    body["spans"][1]["parent_span_id"] = "z"


def _leave_open(body: dict[str, Any]) -> None:
    del body["spans"][0]["ended_at"]


def _double_the_total(body: dict[str, Any]) -> None:
    body["total_tokens"] *= 2


def test_a_sound_trace_is_sound() -> None:
    """The check passes what is right, and the outline is that of the tree."""
    body, exchanges = sound()
    AgentTrace(body).is_sound(exchanges)
    AgentTrace(body).is_like("""
        trace agent | COMPLETED
        AGENT agent
          LLM chat @m
    """)


@pytest.mark.parametrize(
    "change",
    [
        _forget_the_call,
        _call_twice,
        _count_on_the_agent,
        _count_wrongly,
        _lose_the_parent,
        _leave_open,
        _double_the_total,
    ],
)
def test_an_unsound_trace_is_not(change: Callable[[dict[str, Any]], None]) -> None:
    """Each thing that can be wrong is found."""
    body, exchanges = sound()
    changed = copy.deepcopy(body)
    change(changed)
    with pytest.raises(AssertionError):
        AgentTrace(changed).is_sound(exchanges)


def test_another_tree_is_not_alike() -> None:
    """A span under another name, and tokens that are written and differ, are found."""
    trace = AgentTrace(sound()[0])
    for written in ("trace agent | COMPLETED\nAGENT agent\n  LLM other @m", f"{trace}".replace("/", "/9")):
        with pytest.raises(AssertionError):
            trace.is_like(written)
