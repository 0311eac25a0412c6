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
from pathlib import Path

import pytest

import anthropic_traffic
import bedrock_traffic
import gemini_traffic
import ollama_traffic
import openai_traffic
from provider_server import ProviderServer, Received, Reply, events_reply, json_reply
from redis_server import RedisServer, require_redis
from rings import IN_FULL
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment
from waiting import PATIENCE_S

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


CLIENTS = {
    "openai": (
        "import openai; client = openai.OpenAI(base_url=url + '/v1', api_key='k', max_retries=0)",
        (
            "client.chat.completions.create(**CHAT); list(client.chat.completions.create(**CHAT, stream=True))\n"
            "client.responses.create(model='m', input='Hi'); "
            "list(client.responses.create(model='m', input='Hi', stream=True))"
        ),
    ),
    "cerebras": (
        "from cerebras.cloud.sdk import Cerebras; client = Cerebras(base_url=url, api_key='k', max_retries=0)",
        "client.chat.completions.create(**CHAT); list(client.chat.completions.create(**CHAT, stream=True))",
    ),
    "groq": (
        "import groq; client = groq.Groq(base_url=url, api_key='k', max_retries=0)",
        "client.chat.completions.create(**CHAT); list(client.chat.completions.create(**CHAT, stream=True))",
    ),
    "together": (
        "import together; client = together.Together(base_url=url, api_key='k', max_retries=0)",
        "client.chat.completions.create(**CHAT); list(client.chat.completions.create(**CHAT, stream=True))",
    ),
    "mistralai": (
        "from mistralai.client import Mistral; client = Mistral(server_url=url, api_key='k')",
        "client.chat.complete(**CHAT); list(client.chat.stream(**CHAT))",
    ),
    "litellm": (
        "import litellm; options = {**CHAT, 'model': 'openai/m', 'api_base': url, 'api_key': 'k'}",
        "litellm.completion(**options); list(litellm.completion(**options, stream=True))",
    ),
    "anthropic": (
        "import anthropic; client = anthropic.Anthropic(base_url=url, api_key='k', max_retries=0)",
        "client.messages.create(**CHAT, max_tokens=9); list(client.messages.create(**CHAT, max_tokens=9, stream=True))",
    ),
    "google_genai": (
        "from google import genai; client = genai.Client(api_key='k', http_options={'base_url': url})",
        (
            "client.models.generate_content(model='m', contents='Hi')\n"
            "list(client.models.generate_content_stream(model='m', contents='Hi'))"
        ),
    ),
    "ollama": (
        "import ollama; client = ollama.Client(host=url)",
        "client.chat(**CHAT); list(client.chat(**CHAT, stream=True))",
    ),
    "cohere": (
        "import cohere; client = cohere.ClientV2(base_url=url, api_key='k')",
        "client.chat(**CHAT); list(client.chat_stream(**CHAT))",
    ),
    "bedrock": (
        (
            "import boto3; client = boto3.client('bedrock-runtime', region_name='us-east-1', endpoint_url=url,"
            " aws_access_key_id='k', aws_secret_access_key='k')\n"
            "options = {'modelId': 'm', 'messages': [{'role': 'user', 'content': [{'text': 'Hi'}]}]}"
        ),
        "client.converse(**options); list(client.converse_stream(**options)['stream'])",
    ),
}
"""By integration: the construction of a client, and one plain and one streamed call."""


def _provider(received: Received) -> Reply:
    """Answer as the provider whose path this is."""
    path = received.path.partition("?")[0]
    streams = "tream" in path or received.json.get("stream")
    if path.endswith("/converse-stream"):
        return Reply(chunks=bedrock_traffic.converse_events(), content_type="application/vnd.amazon.eventstream")
    if path.endswith("/converse"):
        return json_reply(bedrock_traffic.conversed({"text": "Hi"}))
    if "enerateContent" in path:
        return events_reply(gemini_traffic.chunks(), done=False) if streams else json_reply(gemini_traffic.answer())
    if path.endswith("/messages"):
        plain = json_reply(anthropic_traffic.message({"type": "text", "text": "Hi"}))
        return events_reply(anthropic_traffic.events(), named=True, done=False) if streams else plain
    if path.endswith("/api/chat"):
        lines = ollama_traffic.lines_reply(ollama_traffic.chat_lines())
        return lines if streams else json_reply(ollama_traffic.chatted("Hi"))
    if path.endswith("/v2/chat"):
        message = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
        end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
        start = {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}}
        whole = json_reply({"id": "1", "finish_reason": "COMPLETE", "message": message})
        return events_reply([start, end], named=True, done=False) if streams else whole
    if path.endswith("/responses"):
        events = events_reply(openai_traffic.response_events(), named=True, done=False)
        return events if streams else json_reply(openai_traffic.response(openai_traffic.message_item()))
    return events_reply(openai_traffic.chat_chunks()) if streams else json_reply(openai_traffic.completion())


SAMPLES = ("anthropic", "google_genai", "mistralai")
"""Clients of CI; the others are tried at night."""


@pytest.mark.parametrize(
    ("library", "encoding"),
    [
        ("openai", "br"),
        pytest.param("openai", "zstd", marks=pytest.mark.outer),
        *(pytest.param(one, "identity", marks=pytest.mark.outer if one in SAMPLES else IN_FULL) for one in CLIENTS),
    ],
)
def test_nothing_is_imported_by_calls_of_a_model(library: str, encoding: str, tmp_path: Path) -> None:
    """No call, stream or compressed answer makes an integration import a module once a client exists."""
    construct, call = CLIENTS[library]
    with StrictPandaProbe() as server, ProviderServer() as provider:
        provider.script = lambda received: replace(_provider(received), headers={"content-encoding": encoding})
        start = f"""
url, CHAT = {provider.url!r}, {{"model": "m", "messages": [{{"role": "user", "content": "Hi"}}]}}
pp.init()
{construct}
"""
        more = f"only_ours = True\n{call}\nassert pp.flush(60)"
        result = run_watched(tmp_path, start, more, environment(server.url))

    assert (result.returncode, [line for line in result.stderr.splitlines() if " by " in line]) == (0, []), (
        result.stderr
    )
    assert len(server.traces) >= 2
