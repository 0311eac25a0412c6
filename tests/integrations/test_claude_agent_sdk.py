"""Messages between the Claude Agent SDK and its program, as spans. `tests/frameworks` has runs of the real program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations.claude_agent_sdk import Conversation
from pandaprobe_otel_integrations.claude_agent_sdk.agent import MAX_CHARS, MAX_OPEN, History
from span_recorder import SpanRecorder

MODEL = "claude-sonnet-4-5"
Message = Mapping[str, Any]


@pytest.fixture
def spans() -> Iterator[SpanRecorder]:
    """Yield a recorder of spans."""
    recorder = SpanRecorder()
    yield recorder
    recorder.provider.shutdown()


@pytest.fixture
def talk(spans: SpanRecorder) -> Conversation:
    """Return a new connection."""
    return Conversation(Recorder(tracer=spans.tracer, with_content=True))


def prompt(text: str) -> Message:
    """Return a prompt as the SDK writes it."""
    return {"type": "user", "message": {"role": "user", "content": text}}


def answer(message_id: str, *blocks: Message, parent: str | None = None, input_tokens: int = 10) -> Message:
    """Return a message of the model as the program sends it, with one output token as a placeholder."""
    usage = {"input_tokens": input_tokens, "output_tokens": 1}
    message = {"id": message_id, "model": MODEL, "content": list(blocks), "usage": usage}
    return {"type": "assistant", "message": message, "parent_tool_use_id": parent, "session_id": "s"}


def text(content: str) -> Message:
    """Return a block of text."""
    return {"type": "text", "text": content}


def call(tool_id: str, name: str = "Bash", **arguments: Any) -> Message:
    """Return a block that calls a tool."""
    return {"type": "tool_use", "id": tool_id, "name": name, "input": arguments}


def tool_result(tool_id: str, content: str = "done", **more: Any) -> Message:
    """Return a tool's result."""
    block = {"type": "tool_result", "tool_use_id": tool_id, "content": content}
    return {"type": "user", "message": {"role": "user", "content": [block]}, "session_id": "s", **more}


def result(text: str = "Hi.", *, output: int = 10, total: int | None = None, **more: Any) -> Message:
    """Return the end of a turn. `total` counts from the start of the program, as in older programs."""
    counts = {"inputTokens": 0, "outputTokens": output if total is None else total, "costUSD": 0.0}
    counts_of_model: dict[str, Any] = {"modelUsage": {MODEL: counts}}
    if total is None:
        counts_of_model["model_usage_since_last_result"] = {MODEL: counts}
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": text,
        "usage": {"input_tokens": 0, "output_tokens": output},
        "session_id": "s",
        **counts_of_model,
        **more,
    }


def state(name: str) -> Message:
    """Return the program's report that it is running or idle."""
    return {"type": "system", "subtype": "session_state_changed", "state": name, "session_id": "s"}


def outputs(spans: SpanRecorder) -> list[Any]:
    """Return the output tokens of the model calls, in order of their start."""
    calls = sorted(
        (span for span in spans.spans if span.name.startswith("chat")), key=lambda span: span.start_time or 0
    )
    return [(span.attributes or {}).get("gen_ai.usage.output_tokens") for span in calls]


def test_totals_of_an_older_program_count_from_its_start(talk: Conversation, spans: SpanRecorder) -> None:
    """In an older program, which reports totals since its start, a turn has only the tokens since the last turn."""
    for total, content in ((7, "1"), (12, "2")):
        talk.wrote(prompt("Hi"))
        talk.read(answer(f"{content}-sub", call("a", "Agent", prompt="Look")))
        talk.read(answer(content, text("Hi."), parent="a"))
        talk.read(tool_result("a"))
        talk.read(result(output=3, total=total))

    assert outputs(spans) == [3, 4, 3, 2]


def test_nothing_is_invented_without_a_result(talk: Conversation, spans: SpanRecorder) -> None:
    """Without a result, the reported input tokens stay, the placeholder is dropped, and the run is cancelled."""
    talk.wrote(prompt("Hi"))
    talk.read(answer("1", text("Hi.")))
    talk.close()

    assert spans.attributes(f"chat {MODEL}")["gen_ai.usage.input_tokens"] == 10
    assert outputs(spans) == [None]
    assert spans.attributes("ClaudeAgentSDK")["pandaprobe.outcome"] == "cancelled"


def test_a_program_that_dies_is_an_error(talk: Conversation, spans: SpanRecorder) -> None:
    """If the program dies, the run ends with the error, and its open spans end as cancelled."""
    talk.wrote(prompt("Hi"))
    talk.read(answer("1", call("t")))
    talk.close(RuntimeError("exit code 137"))
    talk.close()

    run = spans.one("ClaudeAgentSDK")
    assert (run.status.status_code.name, run.status.description) == ("ERROR", "exit code 137")
    assert spans.attributes("execute_tool Bash")["pandaprobe.outcome"] == "cancelled"


def test_prompts_that_wait_are_the_next_run(talk: Conversation, spans: SpanRecorder) -> None:
    """A prompt sent during a run starts the next run if the program answers it after the first result."""
    talk.wrote(prompt("one"))
    talk.read(state("running"))
    talk.wrote(prompt("two"))
    talk.read(answer("1", text("1.")))
    talk.read(result("1."))
    talk.read(answer("2", text("2.")))
    talk.read(result("2."))
    talk.read(state("idle"))
    talk.close()

    first, second = [span for span in spans.spans if span.name == "ClaudeAgentSDK"]
    for run, question, content in ((first, "one", "1."), (second, "two", "2.")):
        assert question in str((run.attributes or {})["gen_ai.input.messages"])
        assert content in str((run.attributes or {})["gen_ai.output.messages"])


def test_idle_of_the_run_before_ends_nothing(talk: Conversation, spans: SpanRecorder) -> None:
    """An idle state of the last run, received after the next prompt, does not end the next run."""
    talk.wrote(prompt("one"))
    talk.read(state("running"))
    talk.read(result("1."))
    talk.wrote(prompt("two"))
    talk.read(state("idle"))
    assert spans.names == ["ClaudeAgentSDK"]
    talk.read(result("2."))
    talk.read(state("idle"))
    assert spans.names == ["ClaudeAgentSDK"] * 2


def test_a_long_run_is_bounded(talk: Conversation, spans: SpanRecorder) -> None:
    """In a long run, model calls end before the result if too many wait, and each repeats only a bounded history."""
    talk.wrote(prompt("Hi"))
    for number in range(MAX_OPEN + 5):
        talk.read(answer(str(number), call(f"t{number}")))
        talk.read(tool_result(f"t{number}", "x" * 1000))
    assert sum(name.startswith("chat") for name in spans.names) >= 4
    last = spans.spans[-2].attributes or {}
    assert len(str(last.get("gen_ai.input.messages", ""))) < 2 * MAX_CHARS


def test_a_history_keeps_its_beginning() -> None:
    """A bounded history keeps the first message, drops the oldest of the others, and cuts a long text."""
    history = History()
    for content in ("first", *("y" * 1000 for _ in range(200)), "z" * (MAX_CHARS * 4)):
        history.add({"role": "user", "parts": [{"type": "text", "content": content}]})

    kept = history.snapshot()
    assert "first" in kept[0]
    assert "[cut, " in kept[-1]
    assert sum(map(len, kept)) <= MAX_CHARS + len(kept[-1])
