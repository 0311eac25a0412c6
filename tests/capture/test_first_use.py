"""An app that never calls `init()`: the first use starts the library from the environment, or logs one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pandaprobe_otel.capture.tracers import NOTHING_IS_RECORDED
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python, run_quietly

USES = {
    "decorator": "pp.agent(lambda: 1)()",
    "coroutine": "import asyncio\nasync def work(): pass\nasyncio.run(pp.tool(work)())",
    "generator": "def words(): yield 1\nlist(pp.llm(words)())",
    "block": "with pp.span('block'): pass",
    "start_trace": "with pp.start_trace('trace'): pass",
    "session": "with pp.session('s'), trace.get_tracer('app').start_as_current_span('chat', attributes=CHAT): pass",
    "client": "with pp.get_client().trace('trace'): pass",
}
SET_UP = """
import pandaprobe_otel as pp
from opentelemetry import trace
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
"""


@pytest.mark.parametrize("use", USES)
def test_a_key_in_the_environment_starts_it(use: str) -> None:
    """With a key in the environment, each function that makes a span starts the library and records that span."""
    with StrictPandaProbe() as server:
        variables = environment(server.url)
        run_quietly(SET_UP + USES[use], variables, set_up=False, fresh=use == "decorator")
        assert len(server.posts()) == 1


def test_a_wrapped_client_starts_it() -> None:
    """`wrap_openai` starts the library, since users of the official SDK wrap their client and call nothing else."""
    code = """
    import httpx2 as httpx, openai
    from pandaprobe_otel import wrap_openai
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Tuesday"}}]}
    network = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    client = openai.OpenAI(api_key="k", http_client=httpx.Client(transport=network))
    assert wrap_openai(client) is client
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "When?"}])
    """
    with StrictPandaProbe() as server:
        run_quietly(code, environment(server.url), set_up=False)
        (post,) = server.posts()
    assert post.body["output"] == {"messages": [{"role": "assistant", "content": "Tuesday"}]}


@pytest.mark.parametrize(
    "variables",
    [{"PANDAPROBE_LOCAL": "traces.jsonl"}, {"PANDAPROBE_ENDPOINT": "http://127.0.0.1:9"}],
    ids=["file", "local endpoint"],
)
def test_every_setting_that_makes_sending_possible_starts_it(variables: dict[str, str], tmp_path: Path) -> None:
    """A file or a local endpoint starts the library without a key."""
    code = f"import os; os.chdir({str(tmp_path)!r})\n{SET_UP}{USES['decorator']}\nprint(pp.status().enabled)"
    result = run_python(code, environment(**variables, PANDAPROBE_SHUTDOWN_TIMEOUT="0"), set_up=False)

    assert (result.returncode, result.stdout) == (0, "True\n")


@pytest.mark.parametrize("first", ["coroutine", "session"])
def test_without_a_key_one_line_is_logged(first: str) -> None:
    """Without a key, one line is logged per process, whichever function comes first and in however many threads."""
    code = f"""{SET_UP}
import threading
def work(use):
    for _ in range(20):
        exec(use, {{"pp": pp, "trace": trace, "CHAT": CHAT}})
for use in ({USES[first]!r}, *{list(USES.values())[:-1]!r}):
    threads = [threading.Thread(target=work, args=(use,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
pp.score("00000000-0000-0000-0000-000000000001", "helpful", True)
"""
    result = run_python(code, environment(), set_up=False)

    assert (result.returncode, result.stderr) == (0, f"pandaprobe-otel: {NOTHING_IS_RECORDED}\n")


@pytest.mark.parametrize(
    ("variables", "before"),
    [
        ({"PANDAPROBE_ENABLED": "false", "PANDAPROBE_API_KEY": "sk_pp_1"}, ""),
        ({"OTEL_SDK_DISABLED": "true"}, ""),
        ({}, "pp.init(enabled=False)"),
        ({}, "from opentelemetry.sdk.trace import TracerProvider\ntrace.set_tracer_provider(TracerProvider())"),
    ],
    ids=["switched off", "OpenTelemetry is off", "init() switched it off", "a provider of the app's own"],
)
def test_nothing_is_logged_where_tracing_is_off_on_purpose(variables: dict[str, str], before: str) -> None:
    """Nothing is logged or started if the library is off or the app has its own provider."""
    code = f"""{SET_UP}{before}
{USES["decorator"]}
{USES["session"]}
assert not pp.status().enabled
"""
    run_quietly(code, environment(**variables), set_up=False)


def test_the_key_of_the_command_line_is_not_meant_for_apps(tmp_path: Path) -> None:
    """The key in `~/.pandaprobe/config.yaml` starts nothing at a first use; only `init()` reads it."""
    (tmp_path / ".pandaprobe").mkdir()
    (tmp_path / ".pandaprobe" / "config.yaml").write_text("api_key: sk_pp_1\n")
    code = f"{SET_UP}{USES['decorator']}\nassert not pp.status().enabled\nassert pp.init().enabled"
    result = run_python(code, environment(HOME=str(tmp_path), USERPROFILE=str(tmp_path)), set_up=False)

    assert (result.returncode, result.stderr) == (0, f"pandaprobe-otel: {NOTHING_IS_RECORDED}\n")


@pytest.mark.parametrize("piece", ["PandaProbeSpanProcessor()", "BatchSpanProcessor(pp.PandaProbeSpanExporter())"])
def test_a_pipeline_of_the_apps_own_stays_the_only_one(piece: str) -> None:
    """If the app's own provider has our processor or exporter, a first use starts no second delivery."""
    code = f"""{SET_UP}
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pandaprobe_otel import PandaProbeSpanProcessor
provider = TracerProvider()
provider.add_span_processor({piece})
trace.set_tracer_provider(provider)
{USES["decorator"]}
assert pp.get_client() is None
"""
    with StrictPandaProbe() as server:
        run_quietly(code, environment(server.url), set_up=False)
        assert len(server.posts()) == 1


def test_one_of_many_threads_starts_it_and_none_loses_its_span() -> None:
    """Threads that make spans during the start wait for it, and none loses its span."""
    code = f"""{SET_UP}
import threading
barrier = threading.Barrier(8)
@pp.agent
def answer(number): return number
def work(number):
    barrier.wait()
    answer(number)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(trace.get_tracer_provider()._active_span_processor._span_processors))
"""
    with StrictPandaProbe() as server:
        assert run_quietly(code, environment(server.url), set_up=False, fresh=True) == "1\n"
        assert sorted(post.body["input"] for post in server.posts()) == list(range(8))


def test_a_process_that_is_forked_during_the_start_does_not_wait() -> None:
    """A child forked during the start does not wait for the starting thread, which exists only in the parent."""
    code = f"""{SET_UP}
import os, threading, time
from pandaprobe_otel.capture import tracers
held, done = threading.Event(), threading.Event()
def hold():
    with tracers._lock:
        held.set()
        done.wait(60)
threading.Thread(target=hold).start()
held.wait(60)
child = os.fork()
if child == 0:
    began = time.monotonic()
    {USES["decorator"]}
    os._exit(time.monotonic() - began > tracers.LONGEST_WAIT_S)
done.set()
assert os.waitpid(child, 0)[1] == 0
"""
    result = run_python(
        f"import warnings; warnings.simplefilter('ignore')\n{code}", environment(), set_up=False, fresh=True
    )

    assert result.returncode == 0, result.stderr


def test_an_init_that_comes_later_takes_its_place() -> None:
    """A later `init()` replaces the automatic start: no span is lost or sent twice."""
    code = f"""{SET_UP}
import logging
logging.basicConfig(level="INFO")
with pp.agent("early"): pass
with pp.agent("across"):
    handle = pp.init(environment="production")
    with pp.tool("inner"): pass
with pp.agent("late"): pass
assert pp.get_client() is handle and pp.init() is handle
assert handle.flush(60)
print(len(trace.get_tracer_provider()._active_span_processor._span_processors))
"""
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url), set_up=False)
        assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr
        names = [post.body["name"] for post in server.posts()]
        environments = {post.body["name"]: post.body.get("environment") for post in server.posts()}
    assert "WARNING" not in result.stderr
    assert sorted(names) == ["across", "early", "late"]
    assert environments == {"early": None, "across": "production", "late": "production"}


def test_a_bad_setting_in_the_environment_is_logged_and_the_call_goes_on() -> None:
    """A bad setting is logged, and the decorated function raises nothing, even with PANDAPROBE_STRICT."""
    code = f"{SET_UP}{USES['decorator']}\n{USES['decorator']}\nprint('went on')"
    variables = {"PANDAPROBE_API_KEY": "your-api-key", "PANDAPROBE_STRICT": "true"}
    result = run_python(code, environment(**variables), set_up=False)

    assert (result.returncode, result.stdout) == (0, "went on\n")
    assert result.stderr.count("pandaprobe-otel:") == 1
    assert "placeholder" in result.stderr


def test_a_suite_that_sends_nothing_starts_nothing(tmp_path: Path) -> None:
    """With the pytest plugin's mode off, tests of decorated functions send and log nothing, with or without a key."""
    (tmp_path / "test_app.py").write_text(
        "import pandaprobe_otel as pp\n\n@pp.agent\ndef answer(): return 1\n\ndef test_answer(): assert answer() == 1\n"
    )
    with StrictPandaProbe() as server:
        for variables in (environment(server.url), environment()):
            code = f"import pytest; raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', {str(tmp_path)!r}]))"
            result = run_python(f"import warnings; warnings.simplefilter('default')\n{code}", variables, set_up=False)
            assert result.returncode == 0, result.stdout
            assert "pandaprobe-otel: " not in result.stdout + result.stderr
        assert server.posts() == []


def test_an_adapter_starts_it_and_takes_its_client() -> None:
    """An adapter starts the library and accepts the handle of `init()` as `client=`; any other client is logged."""
    code = """
    import pandaprobe_otel as pp
    from pandaprobe_otel_integrations._adapter import Adapter
    Adapter(session_id="s")
    client = pp.get_client()
    assert client.enabled
    Adapter(client=client, session_id="s")
    assert pp.init() is client
    Adapter(client=pp.Client())
    """
    result = run_python(code, environment("http://127.0.0.1:9"), set_up=False)

    assert result.returncode == 0, result.stderr
    (line,) = result.stderr.splitlines()
    assert "client= of an adapter is ignored: Client is not the handle that init() returned last" in line


# -- apps that set up tracing later or never ---------------------------------------------------------------------------

NOBODY_TRACES = """
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
    assert run_python(code, environment(), set_up=False, fresh=True).stdout == "['orjson']\n[]\nFalse False False\n"


@pytest.mark.parametrize("variables", [{}, {"OTEL_SDK_DISABLED": "true"}])
def test_everything_works_while_nobody_traces(variables: dict[str, str]) -> None:
    """Without a provider, or with OpenTelemetry disabled, no call loads the SDK or makes a trace."""
    code = NOBODY_TRACES + "    print('opentelemetry.sdk' in sys.modules, pp.current_trace_id())\n"
    assert run_python(code, environment(**variables), set_up=False, fresh=True).stdout == "False None\n"


def test_provider_that_is_set_later_is_used() -> None:
    """Functions that were decorated and called before the provider was set are traced afterwards."""
    code = (
        NOBODY_TRACES
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
    assert run_python(code, environment(), set_up=False).stdout == "['function']\npandaprobe_otel\n"
