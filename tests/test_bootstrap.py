"""`init()`, mostly in fresh interpreters, since OpenTelemetry's provider is global to a process."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from pandaprobe_otel import Client, connections
from pandaprobe_otel.local import LocalServer
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python

CHAT = '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}'
REFUSED = "Overriding of current TracerProvider is not allowed\n"


def test_one_line_exports_traces() -> None:
    """With `init()` alone, a trace made with OpenTelemetry's API arrives at the end of the process."""
    with StrictPandaProbe() as server:
        code = f"""
        import pandaprobe_otel
        pandaprobe_otel.init()
        from opentelemetry import trace
        with trace.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
            pass
        """
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")
        assert [post.body["name"] for post in server.posts()] == ["hello"]


def test_it_joins_a_provider_and_never_replaces_it() -> None:
    """Existing processors keep working, and the provider stays the same object."""
    with StrictPandaProbe() as server:
        code = f"""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        mine, memory = TracerProvider(), InMemorySpanExporter()
        mine.add_span_processor(SimpleSpanProcessor(memory))
        trace.set_tracer_provider(mine)
        import pandaprobe_otel
        handle = pandaprobe_otel.init()
        assert trace.get_tracer_provider() is mine
        assert pandaprobe_otel.init() is handle
        with trace.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
            pass
        assert len(memory.get_finished_spans()) == 1
        assert handle.flush(60)
        """
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")
        assert len(server.posts()) == 1


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
    with StrictPandaProbe() as server:
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
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr.replace(REFUSED, "")) == (0, "")
        names = [(post.body["name"], [span["name"] for span in post.body["spans"]]) for post in server.posts()]
    assert names == [("outer", ["outer", "inner"]), ("later", ["later"])]


def test_a_provider_that_was_not_chosen_is_left_alone() -> None:
    """If `init()` was given a provider, a provider that the app sets later is not joined."""
    with StrictPandaProbe() as server:
        code = f"""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        import pandaprobe_otel
        pandaprobe_otel.init(tracer_provider=TracerProvider())
        for _ in range(2):
            mine = TracerProvider()
            trace.set_tracer_provider(mine)
            with mine.get_tracer("tool").start_as_current_span("hello", attributes={CHAT}):
                pass
        """
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr.replace(REFUSED, "")) == (0, "")
        assert server.posts() == []


def test_a_provider_keeps_the_exporter_that_it_came_with() -> None:
    """`init()` passes `replace_default_processor=False`, so that Phoenix's provider keeps its own exporter."""
    with StrictPandaProbe() as server:
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
        with trace.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
            pass
        assert len(memory.get_finished_spans()) == 1
        assert handle.flush(60)
        """
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")
        assert len(server.posts()) == 1


def test_a_given_provider_is_used() -> None:
    """The spans of a provider given to `init()` are delivered, and the global provider is left alone."""
    with StrictPandaProbe() as server:
        code = f"""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        import pandaprobe_otel
        mine = TracerProvider()
        handle = pandaprobe_otel.init(tracer_provider=mine)
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        with mine.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
            pass
        assert pandaprobe_otel.flush(60)
        assert pandaprobe_otel.status().spans_delivered == 1
        """
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")


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
        result = run_python(code, environment(first.url), set_up=False)

        assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")
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
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")
        assert sorted(len(post.body["spans"]) for post in server.posts()) == [1, 1, 2]


def test_a_restart_that_switches_instrumentation_off_leaves_wrapped_clients_on() -> None:
    """`instrument=False` undoes the instrumentation of the first use, but a wrapped client stays wrapped."""
    code = """
    import httpx2 as httpx, openai
    import pandaprobe_otel as pp
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Tuesday"}}]}
    network = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    mine, other = [openai.OpenAI(api_key="k", http_client=httpx.Client(transport=network)) for _ in range(2)]
    pp.wrap_openai(mine)
    pp.init(instrument=False)
    for name, client in (("mine", mine), ("other", other)):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": name}])
    assert set(pp.status().instrumented) == {"openai"}
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")
        (post,) = server.posts()
    assert post.body["input"] == {"messages": [{"role": "user", "content": "mine"}]}


def test_a_suite_that_switches_off_first_stays_off_in_silence() -> None:
    """After `init(enabled=False)` in a test suite, the app's own `init()` is ignored without a log line."""
    code = """
    import pandaprobe_otel
    print(pandaprobe_otel.init(enabled=False))
    assert not pandaprobe_otel.init(project_name="shop").enabled
    """
    for settings in ({}, {"PANDAPROBE_API_KEY": "sk_pp_1"}):
        result = run_python(code, environment(**settings), set_up=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, "<PandaProbe: not sending>\n", "")


def test_printed_status_is_short() -> None:
    """The printed status shows the counts and the problems; the thirty settings are only in the object."""
    code = """
    import pandaprobe_otel
    from opentelemetry import trace
    print(pandaprobe_otel.status())
    pandaprobe_otel.init()
    with pandaprobe_otel.agent("hello"):
        pass
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
        "spans: 2 ended, 1 delivered, 0 waiting, 1 filtered",
        "traces: 1 delivered",
    ]


def test_init_starts_no_thread_and_opens_no_connection() -> None:
    """Nothing is started before the first span; a default for official instrumentations overrides no user's value."""
    code = """
    import socket, threading
    def refuse(*arguments, **named): raise AssertionError("a connection")
    socket.socket.connect = refuse
    socket.getaddrinfo = refuse
    import os, sys
    import pandaprobe_otel
    pandaprobe_otel.init()
    assert threading.active_count() == 1, threading.enumerate()
    assert "httpx" not in sys.modules
    print(os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"])
    """
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    for given, found in (({}, "SPAN_ONLY\n"), ({name: "NO_CONTENT"}, "NO_CONTENT\n")):
        result = run_python(code, environment("http://127.0.0.1:9", **given), set_up=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, found, "")


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


def test_decorated_functions_follow_a_provider_that_is_not_global() -> None:
    """The decorators' spans go to the provider of `init(tracer_provider=...)`."""
    with StrictPandaProbe() as server:
        code = """
        from opentelemetry.sdk.trace import TracerProvider
        import pandaprobe_otel
        handle = pandaprobe_otel.init(tracer_provider=TracerProvider())
        @pandaprobe_otel.agent
        def answer(question): return question.upper()
        answer("why?")
        assert handle.flush(60)
        """
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")
        (post,) = server.posts()
        assert (post.body["name"], post.body["spans"][0]["kind"]) == ("answer", "AGENT")


def test_a_handler_that_flushes_on_return_has_delivered_when_it_returns() -> None:
    """Sync and async handlers return after delivery, with their results and exceptions unchanged."""
    with StrictPandaProbe() as server:
        code = """
        import asyncio, pandaprobe_otel
        handle = pandaprobe_otel.init()
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
        result = run_python(code, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (0, "")


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


def test_console_also_prints_what_is_sent() -> None:
    """`console=True` prints each trace as a tree on standard error."""
    with StrictPandaProbe() as server:
        code = """
        import pandaprobe_otel
        pandaprobe_otel.init(console=True)
        @pandaprobe_otel.tool
        def look_up(number): return number
        @pandaprobe_otel.agent
        def answer(question): return look_up(17)
        answer("why?")
        """
        result = run_python(code, environment(server.url), set_up=False)

    assert result.stdout == ""
    assert "AGENT  answer" in result.stderr
    assert "└── TOOL   look_up" in result.stderr
