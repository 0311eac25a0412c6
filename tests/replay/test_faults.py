"""Faults of a replayed run: the program meets them through its real clients and tools, and nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import boto3
import openai
import pytest
from botocore.config import Config
from google.genai import Client as Gemini

import pandaprobe_otel
from command_line import clean_environment, run_here
from failing_programs import PROGRAMS
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.protocols.conversation import Message
from pandaprobe_otel.replay import fault
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.fault import Reply, ToolCall
from pandaprobe_otel.replay.trials import Program, trials_of, trials_text
from rings import IN_FULL

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
ran: list[str] = []


@pandaprobe_otel.tool
def weather(city: str) -> list[str]:
    """Return the weather of a city."""
    ran.append(city)
    return [f"{city}: rain"]


def script(messages: Sequence[Message]) -> Reply:
    """Call the tool once, then repeat its result."""
    last = messages[-1]
    if last["role"] == "tool":
        return Reply(text=f"I found {last['content']}.")
    return Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),))


class Agent:
    """An agent with one tool that retries as its client does, and survives the tool's exceptions if it is careful."""

    def __init__(self, url: str, *, retries: int = 2, careful: bool = True) -> None:
        self._options: dict[str, Any] = {"base_url": url, "api_key": "k", "max_retries": retries}
        self._handled = Exception if careful else ()

    def answer(self, question: str = "Weather in Oslo?") -> str:
        """Answer a question."""
        with openai.OpenAI(**self._options) as client:
            return self._answer(client, [{"role": "user", "content": question}])

    def _answer(self, client: openai.OpenAI, messages: list[Any]) -> str:
        for _ in range(4):
            done = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER])  # type: ignore[list-item]
            message = done.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                return str(message.content)
            for call in message.tool_calls:
                try:
                    result: Any = weather(**json.loads(call.function.arguments))  # type: ignore[union-attr]
                except self._handled as error:
                    result = {"error": type(error).__name__}
                messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
        return "I could not find out."


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """Yield a scripted model."""
    ran.clear()
    with ScriptedEndpoint(script) as running:
        yield running


@pytest.fixture
def cassette(endpoint: ScriptedEndpoint, tmp_path: Path) -> Path:
    """Return the recording of the agent's run: call 1, the tool, call 2."""
    path = tmp_path / "weather.yaml"
    with pandaprobe_otel.recording(path, tools=True):
        assert Agent(endpoint.base_url).answer() == 'I found ["Oslo: rain"].'
    ran.clear()
    return path


OFFLINE = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("one", [fault.timeout(call=2), fault.http(429, call=1), fault.http(500, call=2)], ids=str)
def test_a_client_retries_a_fault(cassette: Path, one: fault.Fault) -> None:
    """A retry gets the recorded answer: one fault is survived by a client that retries, and not by another."""
    before = cassette.read_bytes()
    with pandaprobe_otel.recording(cassette, tools=True, faults=[one]) as recording:
        assert Agent(OFFLINE).answer() == 'I found ["Oslo: rain"].'
    assert recording.faults_met == [one]
    assert len(recording.calls) == 3

    with pytest.raises(openai.APIError), pandaprobe_otel.recording(cassette, tools=True, faults=[one]):
        Agent(OFFLINE, retries=0).answer()
    assert cassette.read_bytes() == before
    assert ran == []


@pytest.mark.parametrize(
    ("one", "result"),
    [
        (fault.timeout(tool="weather"), {"error": "TimeoutError"}),
        (fault.error(tool="weather"), {"error": "RuntimeError"}),
        (fault.error(KeyError("Oslo"), tool="weather"), {"error": "KeyError"}),
        (fault.empty(tool="weather"), []),
    ],
    ids=str,
)
def test_a_tool_fails_and_the_model_hears_of_it(
    cassette: Path, endpoint: ScriptedEndpoint, one: fault.Fault, result: Any
) -> None:
    """The tool does not run; the run goes on from the cassette, from a scripted model, or live."""
    with pandaprobe_otel.recording(cassette, tools=True, faults=[one]):
        assert Agent(OFFLINE).answer() == 'I found ["Oslo: rain"].'  # as recorded, since nobody else answers

    heard: list[Message] = []

    def model(messages: Sequence[Message]) -> str:
        heard.extend(messages)
        return "I am sorry."

    with pandaprobe_otel.recording(cassette, tools=True, faults=[one], model=model) as recording:
        assert Agent(OFFLINE).answer() == "I am sorry."
    assert json.loads(str(heard[-1]["content"])) == result
    assert [call.played for call in recording.calls] == [True, True]

    sent = len(endpoint.exchanges)
    with pandaprobe_otel.recording(cassette, tools=True, faults=[one], diverge="live") as recording:
        assert Agent(endpoint.base_url).answer() == f"I found {json.dumps(result)}."
    assert len(endpoint.exchanges) == sent + 1
    assert [call.played for call in recording.calls] == [True, False]
    assert ran == []


def test_several_faults_are_met_in_one_run(cassette: Path) -> None:
    """A request that differs after one fault meets the fault of the recorded call that it is nearest to."""
    every = [fault.http(429, call=1), fault.timeout(tool="weather"), fault.http(500, call=2), fault.truncated(call=2)]
    with pandaprobe_otel.recording(cassette, tools=True, faults=every, model=lambda _: "No.") as recording:
        assert Agent(OFFLINE).answer() == "No."
    assert recording.faults_met == every
    assert [call.status for call in recording.calls] == [429, 200, 500, 200, 200]


def test_the_second_call_of_a_tool_fails(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    """`call` counts the calls of the tool; tools that are not played back run, and fail as well."""
    path = tmp_path / "two.yaml"
    with pandaprobe_otel.recording(path):
        for _ in range(2):
            Agent(endpoint.base_url).answer()
    ran.clear()
    second = fault.timeout(tool="weather", call=2)
    with pandaprobe_otel.recording(path, faults=[second], model=lambda _: "No."):
        assert [Agent(OFFLINE).answer() for _ in range(2)] == ['I found ["Oslo: rain"].', "No."]
    assert ran == ["Oslo"]


def test_a_scripted_model_may_call_tools(cassette: Path) -> None:
    """A scripted model's tool call gets the tool's recorded result, which no fault has used up."""

    def model(messages: Sequence[Message]) -> Reply:
        if "TimeoutError" in str(messages[-1]["content"]):
            return Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),))
        return Reply(text=f"At last: {messages[-1]['content']}")

    once = fault.timeout(tool="weather")
    with pandaprobe_otel.recording(cassette, tools=True, faults=[once], model=model):
        assert Agent(OFFLINE).answer() == 'At last: ["Oslo: rain"]'
    assert ran == []


def test_a_fault_that_nobody_meets_fails(cassette: Path) -> None:
    """A run that never reaches the place of a fault proves nothing."""
    for one in (fault.http(429, call=7), fault.timeout(tool="refund")):
        with (
            pytest.raises(RecordingError, match=f"did not meet the fault {one}"),
            pandaprobe_otel.recording(cassette, tools=True, faults=[one]),
        ):
            Agent(OFFLINE).answer()


def test_a_change_before_the_fault_is_still_a_divergence(cassette: Path) -> None:
    """Before a fault is met, the program must match the recording; after it, `diverge` may still forbid changes."""
    second = fault.http(429, call=2)
    models: list[fault.Model | None] = [None, lambda _: "No."]
    for model in models:
        with pytest.raises(Divergence), pandaprobe_otel.recording(cassette, tools=True, faults=[second], model=model):
            Agent(OFFLINE).answer("Weather in Rome?")
    lost = fault.timeout(tool="weather")
    with pytest.raises(Divergence), pandaprobe_otel.recording(cassette, tools=True, faults=[lost], diverge="fail"):
        Agent(OFFLINE).answer()


def test_more_calls_than_recorded_are_a_divergence(cassette: Path) -> None:
    """An agent that asks more often than the recorded one gets no invented answer."""
    lost, agent = fault.empty(call=2), Agent(OFFLINE)

    def too_often() -> None:
        with pandaprobe_otel.recording(cassette, tools=True, faults=[lost]):
            assert agent.answer() == ""
            for question in ("And tomorrow?", "And now?"):
                agent.answer(question)

    with pytest.raises(Divergence):
        too_often()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: fault.timeout(), "needs call="),
        (lambda: fault.empty(), "needs call="),
        (lambda: fault.http(200, call=1), "from 400 to 599"),
        (lambda: fault.http(429, call=0), "count from 1"),
        (lambda: fault.error(tool="t", times=0), "count from 1"),
        (
            lambda: pandaprobe_otel.recording("x.yaml", mode="all", faults=[fault.truncated(call=1)]),
            "mode='all' records",
        ),
        (lambda: pandaprobe_otel.recording("x.yaml", model=script), "pass faults="),
    ],
)
def test_bad_faults_get_a_clear_answer(make: Callable[[], Any], text: str) -> None:
    """A fault without a place, and options that do not fit, are refused at once."""
    with pytest.raises(RecordingError, match=text):
        make()


def test_faults_need_a_recorded_run(tmp_path: Path) -> None:
    """Without a cassette nothing is sent and nothing recorded."""
    with pytest.raises(RecordingError, match="faults need a recorded run"):
        pandaprobe_otel.recording(tmp_path / "none.yaml", faults=[fault.truncated(call=1)]).open()


# -- every protocol ----------------------------------------------------------------------------------------------------


def ask_openai(url: str) -> Iterator[str]:
    """Stream a chat."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        for chunk in client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        ):
            yield chunk.choices[0].delta.content or "" if chunk.choices else ""


def ask_responses(url: str) -> Iterator[str]:
    """Call the Responses API."""
    yield (
        openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
        .responses.create(model="m", input="Hi")
        .output_text
    )


def ask_anthropic(url: str) -> Iterator[str]:
    """Stream a message."""
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    with (
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=messages) as stream,
    ):
        yield from stream.text_stream


def ask_gemini(url: str) -> Iterator[str]:
    """Generate content."""
    client: Any
    with Gemini(api_key="k", http_options={"base_url": url}) as client:
        yield client.models.generate_content(model="m", contents="Hi").text or ""


def ask_bedrock(url: str) -> Iterator[str]:
    """Stream a conversation."""
    client: Any = vars(boto3)["client"](
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"total_max_attempts": 1}),
    )
    stream = client.converse_stream(modelId="m", messages=[{"role": "user", "content": [{"text": "Hi"}]}])["stream"]
    for event in stream:
        yield event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
    client.close()


@pytest.mark.parametrize("ask", [ask_openai, ask_responses, ask_anthropic, ask_gemini, ask_bedrock])
def test_each_client_meets_each_fault(ask: Callable[[str], Iterator[str]], tmp_path: Path) -> None:
    """Each client raises its own error for a broken call, which names the fault, and reads an empty answer."""
    path = tmp_path / "hi.yaml"
    whole = "Hello, this is an answer of many words."
    with ScriptedEndpoint(lambda _: Reply(text=whole)) as endpoint, pandaprobe_otel.recording(path):
        assert "".join(ask(endpoint.url)) == whole

    def met(one: fault.Fault) -> str | Exception:
        words: list[str] = []
        with pandaprobe_otel.recording(path, faults=[one]) as recording:
            try:
                words.extend(ask("http://127.0.0.1:9"))
            except Exception as error:  # noqa: BLE001 - each client has its own
                assert recording.faults_met == [one]
                return error
        return "".join(words)

    errors = [met(one) for one in (fault.timeout(call=1), fault.truncated(call=1), fault.http(429, call=1))]
    assert len({type(error) for error in errors}) >= 2
    assert not any(isinstance(error, (str, RecordingError, Divergence)) for error in errors), errors
    if ask is ask_openai:
        for name, error in zip(("timeout", "truncated"), errors, strict=False):
            assert isinstance(error, Exception)
            assert f"injected fault.{name} at model call 1" in str(error.__cause__ or error)
    assert met(fault.empty(call=1)) == ""


# -- trials: a program with each fault at each place -------------------------------------------------------------------


def careful(question: str) -> str:
    """Answer a question with retries and error handling."""
    return Agent(OFFLINE).answer(question)


def careless(question: str) -> str:
    """Answer a question without them."""
    return Agent(OFFLINE, retries=0, careful=False).answer(question)


def is_an_answer(text: str) -> None:
    """Check that there is an answer."""
    assert text, "no answer"


def tried(cassette: Path, entry: str, *options: str, exit_code: int) -> str:
    """Return the output of `replay faults`."""
    given = ("--entry", f"{__name__}:{entry}", "--arguments", '"Weather in Oslo?"')
    done = run_here("replay", "faults", str(cassette), *given, *options, environment=clean_environment(cassette.parent))
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert ran == []
    return done.stdout


def test_a_careful_program_survives_every_fault(cassette: Path) -> None:
    """A program with retries and error handling survives; nothing runs, and nothing is sent."""
    shown = tried(cassette, "careful", exit_code=0)
    assert "survived   http 429 at model call 2" in shown
    assert "survived   timeout at weather call 1" in shown
    assert shown.rstrip().endswith("13 faults: 13 survived")


def test_a_careless_program_fails_where_it_is_careless(cassette: Path) -> None:
    """Each fault that the program does not handle is named with its exception, and the check finds empty answers."""
    options = ("--check", f"{__name__}:is_an_answer", "--format", "json")
    found = json.loads(tried(cassette, "careless", *options, exit_code=1))
    of_models = {
        "timeout": "APITimeoutError",
        "http 429": "RateLimitError",
        "http 500": "InternalServerError",
        "truncated": "APIConnectionError",
        "empty": "AssertionError",
    }
    assert {each["fault"]: (each["outcome"], each["reason"].partition(":")[0]) for each in found} == {
        **{f"{kind} at model call {call}": ("failed", name) for call in (1, 2) for kind, name in of_models.items()},
        "timeout at weather call 1": ("failed", "TimeoutError"),
        "error at weather call 1": ("failed", "RuntimeError"),
        "empty at weather call 1": ("survived", ""),
    }


def test_trials_go_on_from_a_model(cassette: Path, endpoint: ScriptedEndpoint) -> None:
    """After a fault of a tool, a scripted model or the live one answers."""
    sent = len(endpoint.exchanges)
    scripted = Program(cassette=cassette, entry=Agent(OFFLINE).answer, model=lambda _: "Sorry.")
    live = Program(cassette=cassette, entry=Agent(endpoint.base_url).answer, diverge="live")
    for program in (scripted, live):
        assert [one.outcome for one in trials_of(program, kinds=["error"])] == ["survived"]
    assert len(endpoint.exchanges) == sent + 1
    assert ran == []


def test_three_faults_outlast_two_retries(cassette: Path) -> None:
    """`times` repeats a fault until the client gives up."""
    trials = [*trials_of(Program(cassette=cassette, entry=Agent(OFFLINE).answer), kinds=["http"], times=3)]
    assert (
        trials_text(trials).splitlines()[0].startswith("failed     http 429 at model call 1, 3 times  RateLimitError")
    )
    assert {one.outcome for one in trials} == {"failed"}


def test_a_call_that_was_not_recorded_decides_nothing(cassette: Path) -> None:
    """A program that asks more after a fault than it asked in the recording is neither praised nor blamed."""

    def insisting() -> None:
        agent = Agent(OFFLINE)
        if not agent.answer():
            for question in ("And now?", "And tomorrow?"):
                agent.answer(question)

    (trial,) = (
        one
        for one in trials_of(Program(cassette=cassette, entry=insisting), kinds=["empty"])
        if str(one.fault).startswith("empty at model call 2")
    )
    assert trial.outcome == "undecided"


def test_a_tool_that_was_not_recorded_does_not_run(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    """Trials run no tool that the recording cannot answer, unless it is named."""
    path = tmp_path / "without_tools.yaml"
    with pandaprobe_otel.recording(path):
        Agent(endpoint.base_url).answer()
    ran.clear()
    program = Program(cassette=path, entry=Agent(OFFLINE).answer)
    with pytest.raises(RecordingError, match="the tool weather was not recorded"):
        next(trials_of(program))
    assert ran == []
    assert {one.outcome for one in trials_of(replace(program, live_tools=["weather"]), kinds=["http"])} == {"survived"}
    assert len(ran) == 5


def test_a_program_must_survive_its_own_recording(cassette: Path) -> None:
    """A check that fails without any fault proves nothing about faults."""
    program = Program(cassette=cassette, entry=Agent(OFFLINE).answer, check=lambda text: "sun" in text)
    with pytest.raises(RecordingError, match="fails without any fault: AssertionError: the check returned False"):
        next(trials_of(program))


OF_TOOLS = {"timeout at look_up_order call 1", "error at look_up_order call 1"}
FAILING = {
    "wrong_tool": OF_TOOLS,
    "bad_arguments": OF_TOOLS,
    "refused_tool": OF_TOOLS | {"timeout at refund call 1", "error at refund call 1"},
    "loop": OF_TOOLS,
    "unheard": OF_TOOLS,
    "refusal": set[str](),
    "ignored_document": set[str](),
    "truncated": set[str](),
    "exception_in_a_tool": OF_TOOLS,
    "wrong_hand_off": set[str](),
    "broken_json": {"empty at model call 1"},
    "cancelled": OF_TOOLS,
}
"""The faults that programs do not survive, as their sources show. Their clients retry twice."""


@pytest.mark.parametrize("name", [name if name == "loop" else pytest.param(name, marks=IN_FULL) for name in FAILING])
def test_each_program_meets_each_fault(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve small programs fail exactly where they handle no fault, with an exception of the client or the tool."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    program = PROGRAMS[name]
    module: dict[str, Any] = {"__name__": name}
    with ScriptedEndpoint(program.script) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        exec(program.mended_text, module)

        def entry() -> Any:
            return eval(program.call, module)

        with pandaprobe_otel.recording("c.yaml", tools=True):
            entry()
        sent = len(running.exchanges)
        trials = [*trials_of(Program(cassette=tmp_path / "c.yaml", entry=entry))]
        assert len(running.exchanges) == sent
    assert {str(one.fault) for one in trials if one.outcome != "survived"} == FAILING[name], trials_text(trials)
