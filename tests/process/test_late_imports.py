"""Imports: everything that a process needs is loaded before its first span, and nothing is loaded later.

A module that is imported later may be copied half loaded into a forked child, which then waits for it for ever; it may
find no descriptor left; and it runs beside the imports of the app.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from conformance import libraries
from conformance.cases import CASES
from provider_server import ProviderServer
from redis_server import RedisServer, require_redis
from rings import IN_FULL
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment
from waiting import PATIENCE_S

SUPPORT = Path(__file__).parents[1] / "support"
LATE = """
import asyncio, atexit, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork with threads
late = []
only_ours = False
class Finder:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if name not in sys.builtin_module_names and (not only_ours or "pandaprobe_otel" in frame.f_code.co_filename):
            late.append(f"{name} by {frame.f_code.co_filename}:{frame.f_lineno}")
def end():  # runs after the library's own exit handler
    if late:
        os.write(2, ("\\n".join(late) + "\\n").encode())
        os._exit(9)
atexit.register(end)
import pandaprobe_otel as pp
"""
USE = """
@pp.agent
def ask(question):
    with pp.context(session="s", user="u", metadata={"a": 1}, baggage=True), pp.span("step") as step:
        step.set_output({"answer": question})
        return search(question)
@pp.tool
def search(words):
    if words == "none":
        raise ValueError("nothing → 熊猫")
    return [{"found": words, "text": "é" * 100_000}]
@pp.llm(model="gpt-4o")
async def complete(text):
    pp.set_session("s")
    return text
def work():
    ask("a")
    try:
        ask("none")
    except ValueError:
        pass
    with pp.start_trace("t", tags=["x"], metadata={"a": float("nan")}) as handle:
        handle.set_status("COMPLETED")
        with handle.span("call", kind="LLM") as call:
            call.set_token_usage(prompt_tokens=1, completion_tokens=2)
            pp.score(pp.current_trace_id(), "quality", 0.5)
    threading.Thread(target=ask, args=("in a thread",)).start()
    asyncio.run(complete("b"))
    assert pp.flush(60)
    asyncio.run(pp.aflush(60))
    pp.status(), pp.trace_url("0" * 32)
"""
BY_INIT = """
pp.init(instrument=False)
[getattr(pp, name) for name in ("agent", "tool", "llm", "span", "score", "context", "set_session", "start_trace")]
"""
BY_ENVIRONMENT = """
@pp.agent
def first(): ...
first()
"""
BY_PROCESSOR = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
provider.add_span_processor(pp.PandaProbeSpanProcessor())
trace.set_tracer_provider(provider)
pp.flush, pp.agent, pp.score
"""
BY_EXPORTER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(pp.PandaProbeSpanExporter()))
trace.set_tracer_provider(provider)
pp.agent, pp.tool, pp.llm, pp.span, pp.score, pp.context, pp.set_session, pp.start_trace
flush, pp.flush = pp.flush, lambda timeout: provider.force_flush()
"""
BY_KEY_FUNCTION = """
keys = ["sk_pp_old", "sk_pp_1"]
pp.init(instrument=False, api_key=lambda: keys.pop(0) if len(keys) > 1 else keys[0])
pp.agent, pp.tool, pp.llm, pp.span, pp.score, pp.context, pp.set_session, pp.start_trace
"""
SETTINGS: dict[str, dict[str, str]] = {
    "memory": {},
    "spool, costs and live": {
        "PANDAPROBE_SPOOL_DIR": "spool", "PANDAPROBE_COMPUTE_COST": "true", "PANDAPROBE_LIVE": "true"
    },
    "local and console": {"PANDAPROBE_LOCAL": "traces.jsonl", "PANDAPROBE_CONSOLE": "true"},
    "redis": {"PANDAPROBE_REDIS_URL": "redis"},
    "httpx": {"HTTPS_PROXY": "http://127.0.0.1:9"},
}  # fmt: skip


def run_watched(folder: Path, start: str, more: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program that fails with the late imports; `more` runs after the library has been loaded."""
    code = LATE + start + USE + "sys.meta_path.insert(0, Finder())\n" + textwrap.dedent(more)
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_nothing_is_imported_after_init(settings: str, tmp_path: Path) -> None:
    """No work, score, flush, status, exit or forked child imports a module after `init()`, whatever the settings."""
    with ExitStack() as servers:
        server = servers.enter_context(StrictPandaProbe())
        values = dict(SETTINGS[settings])
        if settings == "redis":
            require_redis()
            values["PANDAPROBE_REDIS_URL"] = servers.enter_context(RedisServer()).url
        more = """
        print("httpx" in sys.modules, flush=True)
        work()
        pid = os.fork() if hasattr(os, "fork") else 0
        work()
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            pp.shutdown()
        """
        result = run_watched(tmp_path, BY_INIT, more, environment(server.url, **values))

    assert (result.returncode, [line for line in result.stderr.splitlines() if " by " in line]) == (0, [])
    assert "local" in settings or len(server.traces) >= 8
    assert result.stdout.startswith(f"{settings == 'httpx'}\n")


@pytest.mark.parametrize(
    "start",
    [BY_ENVIRONMENT, BY_PROCESSOR, BY_EXPORTER, BY_KEY_FUNCTION],
    ids=["first use", "processor", "exporter", "key function"],
)
def test_nothing_is_imported_after_another_start(start: str, tmp_path: Path) -> None:
    """The first decorated call loads what `init()` loads, as do a processor and an exporter that an app adds itself."""
    with StrictPandaProbe() as server:
        result = run_watched(tmp_path, start, "work()", environment(server.url))

    assert (result.returncode, [line for line in result.stderr.splitlines() if " by " in line]) == (0, [])
    assert len(server.traces) >= 4


SAMPLES = ("anthropic", "google_genai", "mistralai")
"""Clients of CI; the others are tried at night."""
LIBRARIES = [module.name for module in iter_modules(libraries.__path__)]
CLIENT = """
import sys
sys.path.insert(0, SUPPORT)
pp.init()
from conformance.cases import look_at_call
from conformance.libraries.LIBRARY import ADAPTERS
from streamed_forms import finished, sighted
clients = [adapter.client(url, 60.0) for adapter in ADAPTERS]
opened = [client.__enter__() for client in clients]
"""
CALLS = """
only_ours = True
for adapter, client in zip(ADAPTERS, opened):
    assert finished(look_at_call(adapter.calls["plain"], client)).raised is None
    assert finished(sighted(adapter.forms["stream"], client)).raised is None
assert pp.flush(60)
"""


@pytest.mark.parametrize(
    ("library", "encoding"),
    [
        ("openai", "br"),
        pytest.param("openai", "zstd", marks=pytest.mark.outer),
        *(pytest.param(one, "identity", marks=pytest.mark.outer if one in SAMPLES else IN_FULL) for one in LIBRARIES),
    ],
)
def test_nothing_is_imported_by_calls_of_a_model(library: str, encoding: str, tmp_path: Path) -> None:
    """No call, stream or compressed answer makes an integration import a module once a client exists."""
    adapters = import_module(f"{libraries.__name__}.{library}").ADAPTERS
    answers = [CASES[0].reply(adapter, streamed) for adapter in adapters for streamed in (False, True)]
    with StrictPandaProbe() as server, ProviderServer() as provider:
        provider.replies(*(replace(one, headers={**one.headers, "content-encoding": encoding}) for one in answers))
        start = f"url, SUPPORT = {provider.url!r}, {str(SUPPORT)!r}\n" + CLIENT.replace("LIBRARY", library)
        result = run_watched(tmp_path, start, CALLS, environment(server.url))

    assert (result.returncode, [line for line in result.stderr.splitlines() if " by " in line]) == (0, []), (
        result.stderr
    )
    assert len(server.traces) == len(answers)
