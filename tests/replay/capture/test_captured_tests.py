"""Tests that `pandaprobe-otel replay capture` makes of traces, and the reasons for which it makes none."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from command_line import clean_environment, run_here
from stored_traces import call, identity, span, tool, trace

GOOD = call(1, 2, said="Here.")
TEST = Path("test_it.py")
CASSETTE = Path("cassettes/test_it.yaml")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def capture(*traces: Any, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Capture stored traces, or their bodies, as a test in the current folder."""
    lines = [json.dumps(getattr(one, "body", one)) for one in traces]
    Path("trace.jsonl").write_text("\n".join(lines), encoding="utf-8")
    environment = clean_environment(Path.cwd())
    return run_here("replay", "capture", "trace.jsonl", "--to", str(TEST), *options, environment=environment)


def captured(*traces: Any, options: tuple[str, ...] = ()) -> tuple[str, str]:
    """Capture traces; return the text of the test, and the notes."""
    done = capture(*traces, options=options)
    assert done.returncode == 0, done.stderr
    return TEST.read_text(encoding="utf-8"), done.stderr


PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
REFUSED: dict[str, Any] = {
    "no model or tool call": trace(),
    "not captured": trace({**GOOD, "input": None, "output": None, "metadata": {"provider": "openai"}}),
    "has no messages": trace({**GOOD, "input": None}),
    "the answer is masked": trace(call(1, 2, said="Call [masked] now.")),
    "the answer is cut off": trace(call(1, 2, said="Call …[cut 90 of 100 characters]")),
    "other than text (image_url)": trace(call(1, 2, said=PICTURE)),
    "has not ended": trace(GOOD, span("step", "CHAIN", 3, None)),
    "is missing": trace(GOOD, span("step", "CHAIN", 3, 4, parent_span_id="gone")),
    "several roots": trace(GOOD, span("other", "AGENT", 3, 4, parent_span_id=None)),
    "crosses processes (a, b)": trace(
        GOOD, *(span(name, "CHAIN", 3, 4, metadata={"service.name": name}) for name in ("a", "b"))
    ),
    "replicate": trace(call(1, 2, said="x", metadata={"provider": "replicate"})),
    "vectors": trace(GOOD, span("embed", "EMBEDDING", 3, 4)),
    "its arguments": trace(GOOD, tool("look_up", 3, 4, {"a": "[masked]"})),
    "its result is masked": trace(GOOD, tool("look_up", 3, 4, {}, output="[masked]")),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_trace_that_lacks_data_makes_no_test(reason: str) -> None:
    """The error has the reason, and no file is written."""
    done = capture(REFUSED[reason])
    assert done.returncode != 0
    assert reason in done.stderr
    assert [path.name for path in Path().iterdir()] == ["trace.jsonl"]


def test_embeddings_within_a_tool_are_never_made() -> None:
    """Embeddings made within a tool are not replayed, because the whole tool is replayed."""
    inner = {**span("embed", "EMBEDDING", 3.2, 3.8), "parent_span_id": identity("search-3")}
    text, _ = captured(trace(GOOD, tool("search", 3, 4, {"query": "q"}), inner))
    assert "tools=True" in text


def test_unknown_programs_and_arguments_are_to_be_filled_in() -> None:
    """A test has a line for an argument and a function that the trace does not have; `--entry` names the program."""
    text, notes = captured(trace(GOOD, input={"question": "Where?", "shop": "<app.Shop object at 0x7f83e805a090>"}))
    assert "# fill in: an argument" in text
    assert "fill in the line" in notes
    assert "raise NotImplementedError" in text
    assert "--entry" in notes
    assert "If the model's choice is the failure" in notes
    assert capture(trace(GOOD)).returncode != 0  # the test may have been edited
    assert TEST.read_text(encoding="utf-8") == text
    TEST.unlink()
    text, _ = captured(trace(GOOD), options=("--entry", "shop.agents:reply"))
    assert "from shop.agents import reply" in text
    assert 'reply("Where?")' in text


def test_the_entry_of_the_project_counts_where_the_trace_names_none() -> None:
    """`entry` under [tool.pandaprobe] names the program; its source shows its parameter and that it is async."""
    Path("pyproject.toml").write_text('[tool.pandaprobe]\nentry = "shop:reply"\n', encoding="utf-8")
    Path("shop.py").write_text("async def reply(question: str) -> str: ...\n", encoding="utf-8")
    text, _ = captured(trace(GOOD))
    assert 'asyncio.run(reply(question="Where?"))' in text


def test_secrets_do_not_reach_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of variables with secret names are removed from requests, answers, tools and the test itself."""
    secret = "hunter2-hunter2-hunter2"
    monkeypatch.setenv("SHOP_PASSWORD", secret)
    text, _ = captured(
        trace(
            call(1, 2, asked=f"My {secret}", said=f"Your {secret}"),
            tool("log_in", 3, 4, {"word": secret}),
            input=secret,
        )
    )
    text += CASSETTE.read_text(encoding="utf-8")
    assert secret not in text
    assert "log_in" in text


def test_a_session_is_one_test_of_several_turns() -> None:
    """A session becomes one test; the calls of a later turn come after those of an earlier one."""
    first, second = trace(GOOD), trace(call(21, 22, said="There."), input="And now?")
    second.body["spans"][0]["started_at"] = "2026-11-28T11:00:20Z"
    turns = ({**one.body, "session_id": "s", "trace_id": f"{at}"} for at, one in enumerate((second, first)))
    text, _ = captured(*turns, options=("--session", "--entry", "shop:reply"))
    assert text.index('reply("Where?")') < text.index('reply("And now?")')
    assert "after: [1]" in CASSETTE.read_text(encoding="utf-8")


def test_a_trace_without_a_root_span_is_its_own_root() -> None:
    """A trace of the official SDK's `@trace`, which is around its spans and has no root span, becomes a test."""
    made = trace(GOOD, tool("look_up", 3, 4, {"a": 1}))
    spans = [{**one, "parent_span_id": None} for one in made.body["spans"][1:]]
    ended = "2026-11-28T11:00:50Z"
    whole = {**made.body, "spans": spans, "ended_at": ended, "input": {"question": "Where?"}, "output": "Here."}
    done = capture(whole, options=("--entry", "shop:reply"))
    assert 'reply(question="Where?")' in TEST.read_text(encoding="utf-8")
    assert "1 model call, 1 tool call" in done.stdout
    TEST.unlink()
    assert "several roots" in capture({**whole, "started_at": spans[0]["started_at"]}).stderr


BRANCHES = [span(f"branch {at}", "CHAIN", at, at + 6) for at in (1, 2, 3)]
LONG = [span(f"branch {at}", "CHAIN", at, 9) for at in (1, 2)]


def within(branch: dict[str, Any], start: float, end: float) -> dict[str, Any]:
    """Return a model call in a branch."""
    return call(start, end, said="x", parent_span_id=branch["span_id"])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("spans", "order"),
    [
        ([call(1, 2, said="x"), call(3, 4, said="x"), call(5, 6, said="x")], [[], [1], [2]]),
        (
            [*BRANCHES, *(within(BRANCHES[at - 1], 2 * at, 2 * at + 1) for at in (1, 2, 3)), call(10, 11, said="x")],
            [[], [], [], [1, 2, 3]],
        ),
        (
            [call(1, 9, said="x"), call(2, 3, said="x"), call(4, 5, said="x"), call(10, 11, said="x")],
            [[], [], [], [1, 2, 3]],
        ),
        ([*LONG, *(within(LONG[at % 2], at, at + 0.5) for at in (3, 4, 5, 6))], [[], [], [1], [2]]),
    ],
    ids=["one after the other", "branches that do not overlap", "siblings joined by a longer one", "steps of a branch"],
)
def test_calls_come_after_those_that_they_waited_for(spans: list[dict[str, Any]], order: list[list[int]]) -> None:
    """A call comes after those that it waited for, not after those in parallel branches that were merely quicker."""
    captured(trace(*spans))
    calls = yaml.safe_load(CASSETTE.read_text(encoding="utf-8"))["interactions"]
    assert [one["pandaprobe"].get("after", []) for one in calls] == order


ASKS = call(1, 2, tools=[("look_up", {"number": "A-17"})])
RESULT = {"role": "tool", "tool_call_id": "look_up-0", "content": "done"}
MESSAGES = [{"role": "user", "content": "Where?"}, RESULT]
ENDS = call(10, 11, asked=MESSAGES, said="Here.")
RAN = tool("look_up", 3, 4, {"number": "A-17"})
PASSED_ON = 'probe.spans.llm().where(lambda span: "done" in str(span.input)).called()'
LOOK_UP = 'probe.spans.tool("look_up").with_args(number="A-17")'
ANSWER = 'probe.spans.named("answer")'

FOUND: dict[str, tuple[Any, tuple[str, int] | None]] = {
    "all is well": (trace(ASKS, RAN, ENDS), None),
    "another tool": (trace(ASKS, tool("refund", 3, 4, {"number": "A-17"}), ENDS), (f"{LOOK_UP}.called()", 1)),
    "other arguments": (trace(ASKS, tool("look_up", 3, 4, {"number": "17"}), ENDS), (f"{LOOK_UP}.called()", 1)),
    "twice": (trace(ASKS, RAN, tool("look_up", 5, 6, {"number": "A-17"}), ENDS), (f"{LOOK_UP}.called(1)", 1)),
    "a default in addition": (trace(ASKS, tool("look_up", 3, 4, {"number": "A-17", "deep": False}), ENDS), None),
    "two calls at once": (
        trace(call(1, 2, tools=[("look_up", {"number": "A-17"})] * 2), RAN, tool("look_up", 3.1, 5, {"number": "A-17"}),
              call(10, 11, asked=[*MESSAGES, {**RESULT, "tool_call_id": "look_up-1"}], said="Here.")),
        None,
    ),
    "a result that is not passed on": (trace(ASKS, RAN, call(10, 11, said="Hm.")), (PASSED_ON, 1)),
    "another agent": (
        trace(call(1, 2, tools=[("transfer_to_billing", {})]), span("shipping", "AGENT", 3, 9)),
        ('probe.spans.agent("billing").called()', 1),
    ),
    "the agent by its longer name": (
        trace(call(1, 2, tools=[("transfer_to_billing_agent", {})]), span("Billing Agent", "AGENT", 3, 9)),
        None,
    ),
    "a document that is not passed on": (
        trace(span("search", "RETRIEVER", 0.1, 0.5, output=[{"content": "Nine days."}]), call(1, 2, said="Hm.")),
        ('probe.spans.llm().where(lambda span: "Nine days." in str(span.input)).called()', 0),
    ),
    "an answer that was cut": (
        trace(call(1, 2, said="It is", metadata={"finish_reasons": ["length"]}), output="It is"),
        (f'{ANSWER}.where(lambda span: "It is" in str(span.output)).not_called()', 1),
    ),
    "an exception": (
        trace(ASKS, {**RAN, "status": "ERROR", "error": "no order"}, status="ERROR", error="no order",
              metadata={"exception_type": "builtins.LookupError"}),
        (f'{ANSWER}.where(lambda span: span.error_type == "builtins.LookupError").not_called()', 1),
    ),
    "an exception that was handled": (trace(ASKS, {**RAN, "status": "ERROR", "error": "no order"}, ENDS), None),
    "cancelled": (
        trace(ASKS, RAN, ENDS, metadata={"outcome": "cancelled"}, output=None),
        (f'{ANSWER}.where(lambda span: span.outcome == "cancelled").not_called()', 2),
    ),
    "a chain of calls without tools": (trace(call(1, 2, said="One."), call(3, 4, said="Two.")), None),
    "calls that the program returns": (trace(ASKS), None),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_failed_step_is_asserted(name: str) -> None:
    """The test of a failure has its assertion and the last call of a fixed program; others have a line to fill in."""
    made, expected = FOUND[name]
    text, notes = captured(made)
    if expected is None:
        assert "Assert here what the program should have done" in text
        assert "no step of the program failed" in notes
    else:
        assertion, last = expected
        lines = [line.strip() for line in text.splitlines() if "probe.spans" in line and "# held" not in line]
        assert lines == [assertion]
        assert f"ends_at={last}" in text


def groups(*traces: Any) -> list[int]:
    """Return the sizes of the groups of traces that become one test each."""
    Path("trace.jsonl").write_text("\n".join(map(json.dumps, traces)), encoding="utf-8")
    done = run_here("replay", "capture", "trace.jsonl", "--to", "tests", environment=clean_environment(Path.cwd()))
    assert done.returncode == 0, done.stderr
    more = [int(line.split()[0]) for line in done.stderr.splitlines() if " traces failed like " in line]
    tests = len(list(Path("tests").glob("*.py")))
    return sorted([*more, *[1] * (tests - len(more))])


def test_traces_that_failed_alike_become_one_test() -> None:
    """Groups differ by failure and program, not by numbers and earlier steps."""

    def wrong(number: str) -> Any:
        return trace(call(1, 2, tools=[("look_up", {"number": number})]), tool("look_up", 3, 4, {"number": "1"}), ENDS)

    def failing(error: str, *before: dict[str, Any], **root: Any) -> Any:
        failed = tool("refund", 8, 9, {"order": 1}, status="ERROR", error=error, output=None)
        return trace(*before, failed, status="ERROR", error=error, **root)

    made = [
        *(wrong("A-17"), wrong("B-2"), FOUND["twice"][0], FOUND["all is well"][0]),
        *(failing("LookupError: order 17 is gone"), failing("LookupError: order 9 is gone", ASKS, RAN)),
        *(failing("KeyError: 'order'"), failing("LookupError: order 17 is gone", name="another program")),
    ]
    bodies = [{**one.body, "trace_id": f"{place}f0c0000-0000-0000-0000-000000000000"} for place, one in enumerate(made)]
    assert groups(*bodies) == [1, 1, 1, 1, 2, 2]


NASTY = [
    "from", "class", "def", "print", "self", "probe", "pytest", "__class__", "a\0b", "\ud800", "x  # y",
    "# x\nimport os",
    '"""', "'''", "\\", "a\\", "\\N{BULLET}", "\u2028x", "\x0c", "\r", "{x}", "é" * 200, "x" * 5000 + "  # z",
    "total = sum(order.price for order in orders if order.is_paid)  # only paid orders count\nprint(total)  # shown",
    'password="a\\"b" and more', "-> x", "import os", "",
]  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=40))
leaves = st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats())
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
deep: Any = 1
for _ in range(240):
    deep = [deep]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=texts, arguments=st.dictionaries(texts, values, max_size=3), root=texts, given=values, error=texts, fn=texts
)
@example(
    name="search", arguments={"from": "BER", "to": "ZRH"}, root="answer", given={"class": "7b"}, error="", fn="a.b"
)
@example(
    name="run", arguments={"code": NASTY[-5]}, root="x" * 90 + "  # y", given={"self": deep}, error="a\0b", fn="a.def"
)
@example(name="deep", arguments={"at": deep}, root="", given=[float("nan"), deep], error="\ud800", fn="os.system")
def test_every_file_is_python(name: str, arguments: dict[str, Any], root: str, given: Any, error: str, fn: str) -> None:
    """Names, arguments, inputs and errors of any content give a file that compiles and contains no other code.

    Only a value that the cassette cannot contain, half of a UTF-16 pair, is refused.
    """
    asks = call(1, 2, tools=[(name, arguments)])
    ran = {**tool("ran", 3, 4, {"a": arguments}), "name": name}
    failed = {"status": "ERROR", "error": error} if error else {}
    TEST.unlink(missing_ok=True)
    done = capture(
        trace(asks, ran, call(5, 6, said="x"), input=given, name=root, metadata={"code.function.name": fn}, **failed)
    )
    if "cannot contain a value" in done.stderr:
        assert "\\ud800" in json.dumps([name, arguments, root, given, error])
        assert not TEST.exists()
        return
    assert TEST.exists(), done.stderr
    imports = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(TEST.read_bytes()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imports <= {
        "from __future__ import annotations", "import pytest", "import json", "import asyncio",
        "from pandaprobe_otel.replay.recording import Recording", "from pandaprobe_otel.evals import Probe",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "is_called"),
    [
        ("shop.answer", True),
        ("app.agents.answer", True),
        ("os.system", False),
        ("pytest.main", False),
        ("installed.answer", False),
        ("shop.not_there", False),
        ("shop.system", False),
        ("linked.answer", False),
        ("json.answer", False),
        ("class.answer", False),
    ],
)
def test_only_functions_of_the_project_are_called(function: str, is_called: bool, tmp_path: Path) -> None:
    """A function that the trace names is imported if a file of the project defines it; `--entry` may name any other."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    source = "from os import system\ndef answer(question): ...\n"
    for file in (
        project / "shop.py", project / "src/app/agents.py", project / "json.py", outside / "linked.py",
        project / ".venv/lib/python3/site-packages/installed.py", project / ".venv/pyvenv.cfg",
    ):  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    (project / "linked.py").symlink_to(outside / "linked.py")
    (project / "installed.py").symlink_to(project / ".venv/lib/python3/site-packages/installed.py")
    os.chdir(project)
    made = trace(GOOD, input={"question": "touch /tmp/x"}, metadata={"code.function.name": function})
    text, notes = captured(made)

    module, _, name = function.rpartition(".")
    assert (f"from {module} import {name}" in text) is is_called
    assert ("raise NotImplementedError" in text) is not is_called
    assert (f"{TEST} will run {module}:{name}(question=" in notes) is is_called
    if not is_called and module != "class":
        assert f"--entry {module}:{name}" in notes
        TEST.unlink()
        text, _ = captured(made, options=("--entry", f"{module}:{name}"))
        assert f"from {module} import {name}" in text
