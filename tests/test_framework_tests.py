"""Foundations of the tests with agent frameworks: their environments, and the checks of `AgentTrace`."""

from __future__ import annotations

import copy
import re
import runpy
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import find_floor
from agent_traces import AgentTrace
from pandaprobe_otel.demo.completions import Reply
from pandaprobe_otel.demo.scripted_endpoint import Exchange, ScriptedEndpoint

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ROOT / "tests" / "frameworks"


def environments() -> dict[str, dict[str, Any]]:
    """Return the table of each environment by name."""
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in FRAMEWORKS.glob("environments/*.toml")}


def test_every_test_has_an_environment() -> None:
    """Each test file runs once, each environment has tests, and `when` is `ci` or `nightly`."""
    known = environments()
    tests = {name: sorted(FRAMEWORKS.glob(f"test_{name}*.py")) for name in known}
    assert sorted(test for found in tests.values() for test in found) == sorted(FRAMEWORKS.glob("test_*.py"))
    assert [name for name, each in known.items() if not tests[name] or each["when"] not in ("ci", "nightly")] == []


@pytest.mark.outer
@pytest.mark.filterwarnings("ignore::FutureWarning")  # nox: two tests in one process read the file
def test_the_oldest_environment_is_what_is_claimed() -> None:
    """The first requirement is the framework at its extra's floor; the oldest environment pins it, with a past date."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    frameworks_of = runpy.run_path(str(ROOT / "noxfile.py"))["frameworks_of"]
    for name, each in environments().items():
        first = each["requirements"][0]
        assert re.sub(r"\[.*\]", "", first) == extras[name.removeprefix("beside_")][0], name
        oldest = frameworks_of(name, each["oldest"], at_floor=True)
        assert first.replace(">=", "==") in oldest
        assert oldest[oldest.index("--exclude-newer") + 1] == each["oldest"]
        assert date.fromisoformat(each["oldest"]) <= date.today()


def test_the_page_of_versions_names_each_floor() -> None:
    """The table has one row for each framework, with the environment's version and date."""
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\S+) (\S+) \| (\d{4}-\d\d-\d\d) \|", page, re.MULTILINE)
    known = [each for name, each in environments().items() if not name.startswith("beside_")]
    floors = [(*re.sub(r"\[.*\]", "", each["requirements"][0]).split(">="), each["oldest"]) for each in known]
    assert sorted(listed) == sorted(floors)


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
