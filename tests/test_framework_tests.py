"""Foundations of the tests with agent frameworks: their environments, and the checks of `AgentTrace`."""

from __future__ import annotations

import copy
import importlib.util
import re
import sys
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import find_floor
from agent_traces import AgentTrace
from pandaprobe_otel.demo.completions import Reply
from pandaprobe_otel.demo.scripted_endpoint import Exchange, ScriptedEndpoint

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ROOT / "tests" / "frameworks"


@pytest.fixture
def runner() -> ModuleType:
    """Return `tests/frameworks/run.py` as a module."""
    spec = importlib.util.spec_from_file_location("frameworks_run", FRAMEWORKS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    del sys.modules[spec.name]
    return module


def test_every_test_has_an_environment(runner: ModuleType) -> None:
    """Each test file runs once, each environment has tests, and `when` is `ci` or `nightly`."""
    known = runner.environments().values()
    ran = sorted(test for each in known for test in each.tests)
    assert ran == sorted(str(path) for path in FRAMEWORKS.glob("test_*.py"))
    assert [each.name for each in known if not each.tests or each.when not in ("ci", "nightly")] == []


@pytest.mark.parametrize(
    ("arguments", "left_out"), [([], True), (["langchain"], False), (["--all"], False), (["--", "-x"], True)]
)
def test_only_ci_leaves_the_nightly_tests_out(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], left_out: bool
) -> None:
    """An environment that is named runs all of its tests, as every environment does at night."""
    ran: list[list[str]] = []

    def run(chosen: object, directory: object, options: list[str]) -> list[str]:
        ran.append(options)
        return []

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    assert runner.main() == 0
    assert [options[:2] == ["-m", "not nightly"] for options in ran] == [left_out]
    assert ran[0][2 * left_out :] == (["-x"] if "-x" in arguments else [])


def test_an_environment_without_tests_fails(runner: ModuleType) -> None:
    """An environment that matches no test file fails."""
    empty = runner.Environment(name="nothing", when="ci", requirements=(), oldest="2026-11-27")
    assert runner.tested(empty, Path(sys.executable), []) is False


def test_the_oldest_environment_is_what_is_claimed(runner: ModuleType) -> None:
    """The first requirement is the framework at its extra's floor; the oldest environment pins it, with a past date."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for each in runner.environments().values():
        floor = extras[each.name.removeprefix("beside_")][0]
        assert re.sub(r"\[.*\]", "", each.requirements[0]) == floor, each.name
        oldest = each.at_its_oldest()
        assert oldest.requirements[0] == each.requirements[0].replace(">=", "==")
        assert not [other for other in oldest.requirements[1:] if re.search("[<>=]", other)]
        assert oldest.fingerprint != each.fingerprint
        assert date.fromisoformat(oldest.day) <= date.today()


def test_the_page_of_versions_names_each_floor(runner: ModuleType) -> None:
    """The table has one row for each framework, with the environment's version and date."""
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\S+) (\S+) \| (\d{4}-\d\d-\d\d) \|", page, re.MULTILINE)
    known = [each for each in runner.environments().values() if not each.name.startswith("beside_")]
    floors = [(*re.sub(r"\[.*\]", "", each.requirements[0]).split(">="), each.oldest) for each in known]
    assert sorted(told) == sorted(floors)


def test_the_floor_is_found_by_bisection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bisection finds the oldest passing day in at most four tries; if no day passes, the last try fails."""
    days = find_floor.first_days(date(2026, 11, 27))
    assert (days[0], days[-1], len(days)) == ("2025-11-01", "2026-11-01", 13)

    def tried(name: str, day: str, directory: Path) -> find_floor.Try:
        return find_floor.Try(name=name, day=day, passed=day >= "2026-03-01", summary="", versions="")

    monkeypatch.setattr(find_floor, "tried", tried)
    results = list(find_floor.bisected("mcp", days, tmp_path))
    assert len(results) <= 4
    assert min(each.day for each in results if each.passed) == "2026-03-01"
    assert list(find_floor.bisected("mcp", days[:2], tmp_path))[-1].passed is False


def sound() -> tuple[dict[str, Any], list[Exchange]]:
    """Return a correct trace of an agent with one model call, and the exchange of this call."""
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
    """`is_sound` and `is_like` accept a correct trace."""
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
    """`is_sound` rejects each kind of fault."""
    body, exchanges = sound()
    changed = copy.deepcopy(body)
    change(changed)
    with pytest.raises(AssertionError):
        AgentTrace(changed).is_sound(exchanges)


def test_another_tree_is_not_alike() -> None:
    """`is_like` rejects an outline with another span name or other token counts."""
    trace = AgentTrace(sound()[0])
    for written in ("trace agent | COMPLETED\nAGENT agent\n  LLM other @m", f"{trace}".replace("/", "/9")):
        with pytest.raises(AssertionError):
            trace.is_like(written)
