"""`init()`, mostly in fresh interpreters, since OpenTelemetry's provider is global to a process."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pandaprobe_otel import Client, connections
from pandaprobe_otel.local import LocalServer
from strict_pandaprobe import Logged, StrictPandaProbe
from subprocesses import environment, run_python, run_quietly

CHAT = '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}'
REFUSED = "Overriding of current TracerProvider is not allowed\n"


def delivered(code: str, *, fresh: bool = False, **variables: str) -> list[Logged]:
    """Run a program, which must succeed in silence, and return the traces that it has posted."""
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url, **variables), set_up=False, fresh=fresh)

        assert (result.returncode, result.stderr.replace(REFUSED, "")) == (0, "")
        return server.posts()


def test_init_joins_a_provider_that_keeps_its_own_exporter() -> None:
    """The provider stays the same object, with its processors, also Phoenix's, which would replace its default one."""
    code = f"""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    memory = InMemorySpanExporter()

    class OfPhoenix(TracerProvider):
        def add_span_processor(self, *args, replace_default_processor=True, **kwargs):
            if replace_default_processor:
                self._active_span_processor = SynchronousMultiSpanProcessor()
            super().add_span_processor(*args, **kwargs)

    mine = OfPhoenix()
    mine.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(mine)
    import pandaprobe_otel
    handle = pandaprobe_otel.init()
    assert trace.get_tracer_provider() is mine
    assert pandaprobe_otel.init() is handle
    with trace.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
        pass
    assert len(memory.get_finished_spans()) == 1
    """
    assert [post.body["name"] for post in delivered(code)] == ["hello"]


def test_a_given_provider_is_used_and_no_other() -> None:
    """Spans and decorators use the provider given to `init()`; a global one is neither set nor joined later."""
    code = f"""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    import pandaprobe_otel
    mine = TracerProvider()
    handle = pandaprobe_otel.init(tracer_provider=mine)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    @pandaprobe_otel.agent
    def answer(question): return question.upper()
    answer("why?")
    with mine.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
        pass
    for _ in range(2):
        other = TracerProvider()
        trace.set_tracer_provider(other)
        with other.get_tracer("tool").start_as_current_span("unseen", attributes={CHAT}):
            pass
    assert pandaprobe_otel.flush(60)
    assert pandaprobe_otel.status().spans_delivered == 2
    """
    names = sorted((post.body["name"], post.body["spans"][0]["kind"]) for post in delivered(code))
    assert names == [("answer", "AGENT"), ("hello", "LLM")]


REPLACEABLE = """
class Replaceable:
    # as Logfire's: what it passes on to is shut down and replaced when Logfire is configured, and at the end
    def __init__(self):
        self.inner = TracerProvider(shutdown_on_exit=False)
    def get_tracer(self, *args, **kwargs):
        return self.inner.get_tracer(*args, **kwargs)
    def add_span_processor(self, processor):
        self.inner.add_span_processor(processor)
    def set_provider(self, inner):
        self.inner = inner
def configure(provider):
    provider.inner.shutdown()
    provider.set_provider(TracerProvider(shutdown_on_exit=False))
"""


@pytest.mark.parametrize("theirs", ["TracerProvider()", "Replaceable()"])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_tool_with_a_provider_is_joined_in_either_order(theirs: str, first: str) -> None:
    """The spans of a tool that makes a provider arrive once in the same trace, also if `init()` came first.

    OpenTelemetry refuses a second global provider, so that the tool uses its own.
    """
    set_up = ["import pandaprobe_otel; pandaprobe_otel.init()", f"mine = {theirs}; trace.set_tracer_provider(mine)"]
    lines = "\n".join(set_up if first == "ours" else reversed(set_up))
    again = "configure(mine)" if theirs == "Replaceable()" else ""
    code = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
{REPLACEABLE}
{lines}
{again}
with trace.get_tracer("app").start_as_current_span("outer", attributes={CHAT}):
    with mine.get_tracer("tool").start_as_current_span("inner", attributes={{"gen_ai.operation.name": "execute_tool"}}):
        pass
{"mine.inner.shutdown()" if again else ""}
with trace.get_tracer("app").start_as_current_span("later", attributes={CHAT}):
    pass
"""
    names = [[span["name"] for span in post.body["spans"]] for post in delivered(code)]
    assert sorted(names) == [["later"], ["outer", "inner"]]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "set PANDAPROBE_API_KEY"),
        ({"PANDAPROBE_API_KEY": "your-api-key"}, "PANDAPROBE_API_KEY holds a placeholder"),
        ({"PANDAPROBE_API_KEY": "sk_pp_1", "PANDAPROBE_ENDPOINT": "nonsense"}, "PANDAPROBE_ENDPOINT = 'nonsense'"),
    ],
)
def test_bad_settings_warn_once_and_the_app_goes_on(env: dict[str, str], words: str) -> None:
    """With bad settings, a thousand traces log one line, and flush, status and shutdown work; `strict` raises it."""
    code = """
    import pandaprobe_otel
    try:
        pandaprobe_otel.init(strict=True)
    except pandaprobe_otel.PandaProbeError as error:
        print(error)
    handle = pandaprobe_otel.init()
    from opentelemetry import trace
    for n in range(1000):
        with trace.get_tracer("app").start_as_current_span("hello"):
            pass
    assert handle.flush(1) and handle.shutdown(1)
    assert not handle.status().enabled and handle.status().problems
    print("went on")
    """
    result = run_python(code, environment(**env), set_up=False)

    message, went_on = result.stdout.splitlines()
    assert (result.returncode, went_on) == (0, "went on")
    assert result.stderr.count("pandaprobe-otel:") == 1
    assert words in result.stderr
    assert words in message


def test_a_cell_that_is_run_again_counts_when_the_key_is_there() -> None:
    """`init()` without a key logs one line and works once a key is set; later calls log which arguments they ignore."""
    with StrictPandaProbe() as server:
        code = f"""
        import os
        import pandaprobe_otel
        for _ in range(3):
            handle = pandaprobe_otel.init(mask=lambda text: text)
        assert not handle.enabled
        os.environ.update(PANDAPROBE_API_KEY="sk_pp_0123", PANDAPROBE_ENDPOINT={server.url!r})
        for _ in range(3):
            handle = pandaprobe_otel.init(mask=lambda text: text)
            assert handle is pandaprobe_otel.get_client() and handle.enabled
        with pandaprobe_otel.agent("hello"):
            pass
        assert handle.flush(60)
        for _ in range(3):
            assert pandaprobe_otel.init(project_name="other", capture="all") is handle
        """
        result = run_python(code, environment(), set_up=False)

        assert result.returncode == 0, result.stderr
        assert len(server.posts()) == 1
    no_key, ignored = result.stderr.splitlines()
    assert "no API key" in no_key
    assert ignored.endswith("was called before, so these arguments have no effect: project_name.")


def test_after_a_shutdown_init_starts_anew() -> None:
    """As in the official SDK, `init()` after `shutdown()` makes a new pipeline behind the provider's only processor."""
    with StrictPandaProbe() as first, StrictPandaProbe() as second:
        code = f"""
        import pandaprobe_otel as pp
        from opentelemetry import trace
        one = pp.init(handle_sigterm=True)
        provider = trace.get_tracer_provider()
        with pp.agent("before"): pass
        assert pp.shutdown(60) and one.is_shut_down
        with pp.agent("between"): pass
        two = pp.init(endpoint={second.url!r}, environment="production", handle_sigterm=True)
        assert two is not one and two is pp.get_client() and pp.init() is two
        assert two.enabled and not two.is_shut_down and trace.get_tracer_provider() is provider
        with pp.agent("after"): pass
        assert two.flush(60)
        status = pp.status()
        assert (status.enabled, status.spans_ended, status.spans_delivered, status.problems) == (True, 1, 1, ())
        assert one.status().spans_dropped == {{"after_shutdown": 1}}
        one.shutdown()
        with pp.agent("at the end"): pass
        print(len(provider._active_span_processor._span_processors))
        """
        assert run_quietly(code, environment(first.url), set_up=False) == "1\n"
        assert [post.body["name"] for post in first.posts()] == ["before"]
        posts = [(post.body["name"], post.body["environment"]) for post in second.posts()]
        assert posts == [("after", "production"), ("at the end", "production")]


@pytest.mark.parametrize(
    ("provider", "end"),
    [
        ("None", "pp.shutdown()"),
        ("TracerProvider()", "trace.get_tracer_provider().shutdown()"),
        pytest.param("None", "trace.get_tracer_provider().shutdown()", marks=pytest.mark.outer),
        pytest.param("TracerProvider()", "pp.shutdown()", marks=pytest.mark.outer),
    ],
)
def test_instrumented_libraries_are_recorded_after_a_restart(provider: str, end: str) -> None:
    """After a restart with the same or another provider, each call of an older client is recorded once."""
    code = f"""
    import httpx2 as httpx, openai
    import pandaprobe_otel as pp
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    answer = {{"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {{"index": 0, "finish_reason": "stop", "message": {{"role": "assistant", "content": "Tuesday"}}}}]}}
    network = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    client = openai.OpenAI(api_key="k", http_client=httpx.Client(transport=network))
    def ask(): client.chat.completions.create(model="m", messages=[{{"role": "user", "content": "When?"}}])
    pp.init()
    ask()
    {end}
    pp.init(tracer_provider={provider})
    ask()
    with pp.agent("around"): ask()
    assert pp.flush(60) and pp.status().spans_ended == 3
    """
    assert sorted(len(post.body["spans"]) for post in delivered(code)) == [1, 1, 2]


def test_a_restart_that_switches_instrumentation_off_leaves_wrapped_clients_on() -> None:
    """`instrument=False` undoes the instrumentation of the first use, but a wrapped client stays wrapped."""
    code = """
    import httpx2 as httpx, openai
    import pandaprobe_otel as pp
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Tuesday"}}]}
    network = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    mine, other = [openai.OpenAI(api_key="k", http_client=httpx.Client(transport=network)) for _ in range(2)]
    pp.wrap(mine)
    pp.init(instrument=False)
    for name, client in (("mine", mine), ("other", other)):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": name}])
    assert set(pp.status().instrumented) == {"openai"}
    """
    (post,) = delivered(code)
    assert post.body["input"] == {"messages": [{"role": "user", "content": "mine"}]}


def test_a_suite_that_switches_off_first_stays_off_in_silence() -> None:
    """After `init(enabled=False)` in a test suite, the app's own `init()` is ignored without a log line."""
    code = """
    import pandaprobe_otel
    print(pandaprobe_otel.init(enabled=False))
    assert not pandaprobe_otel.init(project_name="shop").enabled
    """
    for settings in ({}, {"PANDAPROBE_API_KEY": "sk_pp_1"}):
        assert run_quietly(code, environment(**settings), set_up=False) == "<PandaProbe: not sending>\n"


def test_warnings_of_opentelemetrys_events_api_stay_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """`init()` suppresses the deprecation warnings of OpenTelemetry 1.39 to 1.41 about its events API."""

    class ProxyEventLoggerProvider:
        pass

    def present() -> ProxyEventLoggerProvider:
        warnings.warn("Deprecated since version 1.39.0", DeprecationWarning, stacklevel=2)
        return ProxyEventLoggerProvider()

    given: list[Any] = []
    api = SimpleNamespace(get_event_logger_provider=present, set_event_logger_provider=given.append)
    monkeypatch.setitem(sys.modules, "opentelemetry._events", api)
    sdk = SimpleNamespace(EventLoggerProvider=lambda logs: ("events", logs))
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._events", sdk)
    connections._forward_events("logs")
    assert given == [("events", "logs")]


def test_the_handle_has_the_methods_of_the_official_client() -> None:
    """The handle has the methods `trace` and `score`, which act like the functions of the module."""
    code = """
    import pandaprobe_otel
    client = pandaprobe_otel.init()
    with client.trace("t", session_id="s") as t, t.span("call", kind="LLM") as s:
        s.set_output("Hi")
    client.score(t.trace_id, "good", "0.5", data_type="NUMERIC", reason="half right")
    assert client.flush(60)
    """
    with LocalServer() as server:
        result = run_python(code, environment(server.url, PANDAPROBE_API_KEY=server.api_key), set_up=False)
        with Client(endpoint=server.url, api_key=server.api_key, project_name="shop") as client:
            (trace,) = client.traces.list().items
            (score,) = client.scores.of_trace(trace.trace_id)

    assert (result.returncode, result.stderr) == (0, "")
    assert (trace.name, trace.session_id) == ("t", "s")
    assert (score.name, score.parsed, score.reason) == ("good", 0.5, "half right")


def test_init_opens_no_connection_and_a_handler_flushes_when_it_returns() -> None:
    """Nothing starts before the first span; handlers return after delivery, with results and exceptions unchanged."""
    code = """
    import socket, threading
    connect, look_up = socket.socket.connect, socket.getaddrinfo
    def refuse(*arguments, **named): raise AssertionError("a connection")
    socket.socket.connect = socket.getaddrinfo = refuse
    import os, sys
    import pandaprobe_otel
    handle = pandaprobe_otel.init()
    assert threading.active_count() == 1, threading.enumerate()
    assert "httpx" not in sys.modules
    assert os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] == os.environ.get("WANTED", "SPAN_ONLY")
    socket.socket.connect, socket.getaddrinfo = connect, look_up
    import asyncio
    class Context:
        def get_remaining_time_in_millis(self): return 61000
    @pandaprobe_otel.flush_on_return(timeout=60)
    @pandaprobe_otel.agent
    def handler(event, context): return event["n"] + 1
    @pandaprobe_otel.flush_on_return(timeout=60)
    @pandaprobe_otel.agent
    async def later(event): raise LookupError(event)
    assert handler({"n": 1}, Context()) == 2
    assert handle.status().traces_delivered == 1, handle.status()
    try: asyncio.run(later("e"))
    except LookupError as error: assert error.args == ("e",)
    assert handle.status().traces_delivered == 2
    assert asyncio.run(pandaprobe_otel.aflush(60))
    """
    switch = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    for given in ({}, {switch: "NO_CONTENT", "WANTED": "NO_CONTENT"}):  # the user's value stays
        assert len(delivered(code, fresh=True, **given)) == 2


def test_printed_status_is_short_and_a_console_shows_traces() -> None:
    """The printed status shows counts and problems; `console=True` prints each trace as a tree on standard error."""
    code = """
    import pandaprobe_otel
    from opentelemetry import trace
    print(pandaprobe_otel.status())
    pandaprobe_otel.init(console=True)
    @pandaprobe_otel.tool
    def look_up(number): return number
    @pandaprobe_otel.agent
    def answer(question): return look_up(17)
    answer("why?")
    with trace.get_tracer("shop").start_as_current_span("GET /orders"):
        pass
    pandaprobe_otel.flush(60)
    print(pandaprobe_otel.status())
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url), set_up=False)

    assert result.stdout.splitlines() == [
        "PandaProbe: not sending",
        "spans: 0 ended, 0 delivered, 0 waiting",
        "traces: 0 delivered",
        "problem: init() was not called",
        f"PandaProbe: project 'shop' at {server.url}",
        "spans: 3 ended, 2 delivered, 0 waiting, 1 filtered",
        "traces: 1 delivered",
    ]
    assert "\n  AGENT answer" in result.stderr
    assert "\n    TOOL  look_up(number=17)" in result.stderr


def test_an_agent_below_an_unsampled_parent_is_counted_and_named(tmp_path: Path) -> None:
    """Each span that the caller's decision leaves out counts as `sampled_by_parent`; one line names the remedy."""
    code = """
    from opentelemetry import context, propagate
    from pandaprobe_otel import agent, tool
    @tool
    def one(): return 1
    @agent
    def run(): return one()
    run()
    header = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
    token = context.attach(propagate.extract(header))
    run()
    run()
    context.detach(token)
    handle.shutdown()
    status = handle.status()
    print(status.spans_ended, status.spans_delivered, status.spans_dropped)
    """
    result = run_python(code, environment(PANDAPROBE_LOCAL=str(tmp_path / "t.jsonl")))
    assert result.stdout == "6 2 {'sampled_by_parent': 4}\n", result.stderr[-2000:]
    assert result.stderr.count("OTEL_TRACES_SAMPLER=always_on") == 1


def test_evicted_attributes_are_named_once_and_our_provider_evicts_none(tmp_path: Path) -> None:
    """The provider of `init()` keeps every attribute; another provider's limit is named with its variable, once."""
    code = """
    from opentelemetry.sdk.trace import TracerProvider
    from pandaprobe_otel import PandaProbeSpanProcessor
    def chat(tracer):
        with tracer.start_as_current_span("chat", attributes=CHAT) as span:
            for n in range(5000):
                span.set_attribute(f"llm.input_messages.{n}.message.content", "m")
        return span.attributes
    print(len(chat(tracer)))
    handle.shutdown()
    mine = TracerProvider()
    mine.add_span_processor(PandaProbeSpanProcessor())
    for _ in range(2):
        print(len(chat(mine.get_tracer("test"))))
    mine.shutdown()
    """
    result = run_python(code, environment(PANDAPROBE_LOCAL=str(tmp_path / "t.jsonl")))
    assert result.stdout == "5002\n128\n128\n", result.stderr[-2000:]
    assert result.stderr.count("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT") == 1


APP = f"""
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
    pass
"""
CONFIGURED = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure(auto_instrumentation_version="x")
"""
LAUNCHED = """
from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors
from opentelemetry.instrumentation.distro import DefaultDistro
_load_instrumentors(DefaultDistro())
"""
"""Steps of OpenTelemetry's launcher: its configuration, and the instrumentor entry points."""
SWITCHES = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


def launch(program: str, env: dict[str, str], exporter: str) -> str:
    """Run a program of the launcher, and return its standard error."""
    command = [sys.executable, "-c", program]
    variables = {**env, **SWITCHES, "OTEL_TRACES_EXPORTER": exporter}
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("set_up", "exporter"),
    [
        (CONFIGURED, "none"),
        pytest.param(CONFIGURED, "pandaprobe", marks=pytest.mark.outer),  # as in sdk/test_span_receivers.py, in a fork
        ("", "pandaprobe"),
    ],
)
def test_the_launcher_needs_no_line_of_code_and_nothing_is_sent_twice(set_up: str, exporter: str) -> None:
    """The instrumentor entry point sends a trace once, with our exporter and without, configured or not."""
    with StrictPandaProbe() as server:
        launch(set_up + LAUNCHED + APP, environment(server.url), exporter)

        assert [post.body["name"] for post in server.posts()] == ["hello"]


@pytest.mark.parametrize("exporter", ["none", pytest.param("pandaprobe", marks=pytest.mark.outer)])
def test_the_launcher_survives_settings_that_cannot_work(exporter: str) -> None:
    """Unusable settings are logged, since an exception in a constructor would stop all of the app's telemetry."""
    shown = launch(CONFIGURED + LAUNCHED + APP, environment(), exporter)

    assert "PANDAPROBE_API_KEY" in shown
    assert "Traceback" not in shown
