"""Decorators in an app that never sets up tracing, and in an app that sets it up later."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str) -> str:
    """Run the code in a new interpreter and return its output."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


USE = """
    import asyncio, sys
    import pandaprobe_otel as pp

    @pp.agent
    def function(a): return a

    @pp.tool(name="t", ignore=("b",))
    async def coroutine(a, b=None): return a

    @pp.llm
    def generator(): yield 1

    with pp.context(session="s", metadata={"a": 1}, tags=["t"]), pp.start_trace("t", metadata={"b": 2}) as t:
        pp.set_session("x")
        t.set_output(function(1))
        assert asyncio.run(coroutine(2)) == 2
        assert list(generator()) == [1]
"""


def test_decorators_load_only_the_api() -> None:
    """Decorators load OpenTelemetry's API, and orjson, which no later span may import; no other library, no SDK."""
    code = """
    import sys
    import opentelemetry.context, opentelemetry.trace, opentelemetry.trace.propagation.tracecontext
    before = set(sys.modules)
    import pandaprobe_otel as pp
    pp.agent(lambda: 1)()
    pp.tool(name="x", metadata={"a": 1}, session_id="s")(lambda: 1)()
    later = set(sys.modules) - before
    libraries = {name.partition(".")[0] for name in later} - sys.stdlib_module_names
    print(sorted(libraries - {"pandaprobe_otel", "opentelemetry"}))
    print(sorted(name for name in later if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))
    print("asyncio" in later, "http.client" in later, "ssl" in later)
    """
    assert run(code) == "['orjson']\n[]\nFalse False False\n"


def test_everything_works_while_nobody_traces() -> None:
    """Without a provider, no call loads the SDK or prints a line."""
    assert run(USE + "    print('opentelemetry.sdk' in sys.modules)\n") == "False\n"


def test_provider_that_is_set_later_is_used() -> None:
    """Functions that were decorated and called before the provider was set are traced afterwards."""
    code = (
        USE
        + """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    function(1)
    print([span.name for span in exporter.get_finished_spans()])
    print(exporter.get_finished_spans()[0].instrumentation_scope.name)
    """
    )
    assert run(code) == "['function']\npandaprobe_otel\n"


def test_disabled_sdk() -> None:
    """With `OTEL_SDK_DISABLED` set, decorated functions run without spans."""
    code = (
        "    import os\n    os.environ['OTEL_SDK_DISABLED'] = 'true'\n"
        """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    trace.set_tracer_provider(TracerProvider())
    """ + USE + "    print(pp.current_trace_id())\n"
    )
    assert run(code) == "None\n"
