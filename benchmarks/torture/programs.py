"""Small programs that break tracing, each in its own process: `python programs.py SDK PROGRAM`.

They use an SDK as its documentation shows: its set-up, its decorators and its integration of the OpenAI client. The
addresses of the server and of the model are in the environment, and so is everything else that an SDK reads.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

SERVER = os.environ.get("TORTURE_SERVER", "")
MODEL = os.environ.get("TORTURE_MODEL", "")
CARD = "4111 1111 1111 1111"


@dataclass(frozen=True)
class Kit:
    """Verbs of an SDK."""

    agent: Callable[..., Any]
    tool: Callable[..., Any]
    flush: Callable[[], object]
    client: Callable[[], Any]


def openai_client() -> Any:
    from openai import OpenAI

    return OpenAI(base_url=MODEL, api_key="sk-torture", max_retries=0)


# --- the SDKs --------------------------------------------------------------------------------------------------------


def pandaprobe_otel(masks: bool) -> Kit:
    import pandaprobe_otel as sdk

    key = (lambda: "sk_pp_torture") if sys.argv[2] == "expired_key" else "sk_pp_torture"
    sdk.init(api_key=key, project_name="torture", endpoint=SERVER, mask=[CARD] if masks else None)
    return Kit(sdk.agent, sdk.tool, lambda: sdk.flush(20), openai_client)


def pandaprobe(masks: bool) -> Kit:
    import pandaprobe as sdk
    from pandaprobe.wrappers import wrap_openai

    sdk.init(api_key="sk_pp_torture", project_name="torture", endpoint=SERVER)
    return Kit(
        lambda function: sdk.trace(name=function.__name__)(function),
        lambda function: sdk.span(name=function.__name__, kind="TOOL")(function),
        lambda: sdk.flush(20),
        lambda: wrap_openai(openai_client()),
    )


def langfuse(masks: bool) -> Kit:
    from langfuse import Langfuse, observe
    from langfuse.openai import OpenAI

    def hide(data: Any, **_: Any) -> Any:
        return str(data).replace(CARD, "***") if CARD in str(data) else data

    sdk = Langfuse(public_key="pk-lf-t", secret_key="sk-lf-t", base_url=SERVER, mask=hide if masks else None)
    return Kit(
        observe(as_type="agent"),
        observe(as_type="tool"),
        sdk.flush,
        lambda: OpenAI(base_url=MODEL, api_key="sk-torture", max_retries=0),
    )


def logfire(masks: bool) -> Kit:
    import logfire as sdk
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = BatchSpanProcessor(OTLPSpanExporter(f"{SERVER}/v1/traces"))
    scrubbing = sdk.ScrubbingOptions(extra_patterns=[CARD]) if masks else None
    sdk.configure(
        send_to_logfire=False, console=False, additional_span_processors=[exporter], metrics=False, scrubbing=scrubbing
    )
    sdk.instrument_openai()
    traced = functools.partial(sdk.instrument, record_return=True)
    return Kit(lambda f: traced(f.__name__)(f), lambda f: traced(f.__name__)(f), sdk.force_flush, openai_client)


def openinference(masks: bool) -> Kit:
    from openinference.instrumentation import TracerProvider
    from openinference.instrumentation.openai import OpenAIInstrumentor
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{SERVER}/v1/traces")))
    trace.set_tracer_provider(provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    tracer: Any = provider.get_tracer("torture")
    return Kit(tracer.agent, tracer.tool, provider.force_flush, openai_client)


def openllmetry(masks: bool) -> Kit:
    from opentelemetry import trace
    from traceloop.sdk import Traceloop
    from traceloop.sdk.decorators import agent, tool

    Traceloop.init(app_name="torture", api_endpoint=SERVER, api_key="torture", telemetry_enabled=False)
    flush: Any = trace.get_tracer_provider().force_flush  # type: ignore[attr-defined]
    return Kit(lambda f: agent(name=f.__name__)(f), lambda f: tool(name=f.__name__)(f), flush, openai_client)


# --- the programs ----------------------------------------------------------------------------------------------------


def ask(client: Any, **more: Any) -> Any:
    question = [{"role": "user", "content": "Where is my order?"}]
    return client.chat.completions.create(model="gpt-5", messages=question, **more)


def cached_results(kit: Kit) -> None:
    @functools.lru_cache
    @kit.tool
    def price(number: int) -> int:
        return number * 2

    @kit.agent
    def shop(question: str) -> int:
        return price(17) + price(17)

    assert shop("what?") == 68
    assert price.cache_info().hits == 1


def unsampled_parent(kit: Kit) -> None:
    from opentelemetry import context, trace

    @kit.agent
    def shop(question: str) -> str:
        return "answer of the shop"

    parent = trace.SpanContext(1 << 100, 1 << 50, is_remote=True, trace_flags=trace.TraceFlags(0))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))
    shop("what?")
    context.detach(token)


def pool_threads(kit: Kit) -> None:
    @kit.tool
    def look_up(number: int) -> int:
        return number

    @kit.agent
    def shop(question: str) -> list[int]:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(look_up, range(3)))

    shop("what?")


def key_in_error(kit: Kit) -> None:
    @kit.agent
    def shop(question: str) -> None:
        raise RuntimeError(
            "401 from https://api.example/v1: Authorization: Bearer sk-proj-T0rtureT0rtureT0rtureT0rture42"
        )

    with suppress(RuntimeError):
        shop("what?")


def evicted_attributes(kit: Kit) -> None:
    from opentelemetry import trace

    @kit.agent
    def shop(question: str) -> str:
        for number in range(200):
            trace.get_current_span().set_attribute(f"app.{number}", number)
        return "answer of the shop"

    shop("the question of the user")


def fork_after_use(kit: Kit) -> None:
    @kit.agent
    def parent(question: str) -> str:
        return "from the parent"

    @kit.agent
    def child(question: str) -> str:
        return "from the child"

    parent("what?")
    if (pid := os.fork()) == 0:
        child("what?")
        kit.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def abandoned_stream(kit: Kit) -> None:
    client = kit.client()

    @kit.agent
    def shop(question: str) -> str:
        for chunk in ask(client, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                return str(chunk.choices[0].delta.content)
        return ""

    assert shop("what?")
    gc.collect()


def raw_response(kit: Kit) -> None:
    client = kit.client()
    question = [{"role": "user", "content": "Where is my order?"}]
    raw = client.chat.completions.with_raw_response.create(model="gpt-5", messages=question)
    assert raw.http_response.status_code == 200
    assert "On its way" in raw.parse().choices[0].message.content


def generator_closed_elsewhere(kit: Kit) -> None:
    @kit.agent
    async def shop(question: str) -> Any:
        yield "On its way"
        yield "never read"

    async def main() -> None:
        pieces = shop("what?")
        await asyncio.create_task(anext(pieces))
        await asyncio.create_task(pieces.aclose())

    asyncio.run(main())


def interrupt(kit: Kit) -> None:
    @kit.agent
    def shop(question: str) -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        shop("what?")


def consecutive_runs(kit: Kit) -> None:
    @kit.agent
    def shop(question: str) -> str:
        return question

    for number in range(3):
        shop(f"question {number}")


def closures(kit: Kit) -> None:
    class Document:
        pass

    @kit.agent
    def shop(document: Any) -> None:
        return None

    document = Document()
    seen = weakref.ref(document)
    shop(document)
    del document
    kit.flush()
    time.sleep(1)
    gc.collect()
    assert seen() is None, "the argument is still alive"


def masked_foreign_span(kit: Kit) -> None:
    from opentelemetry import trace

    @kit.agent
    def shop(card: str) -> str:
        with trace.get_tracer("another.library").start_as_current_span("pay") as span:
            span.set_attribute("payment.card", CARD)
        return f"paid with {CARD}"

    shop(CARD)


def end_of_process(kit: Kit) -> None:
    @kit.agent
    def shop(question: str) -> str:
        return "answer of the shop"

    shop("what?")
    sys.exit(0)


def expired_key(kit: Kit) -> None:
    @kit.agent
    def shop(question: str) -> str:
        return question

    for number in range(3):
        shop(f"question {number}")
        kit.flush()
        time.sleep(1)
    time.sleep(30)


def sums_and_caches(kit: Kit) -> None:
    client = kit.client()

    @kit.agent
    def shop(question: str) -> str:
        return str(ask(client).choices[0].message.content)

    shop("what?")


def late_span(kit: Kit) -> None:
    @kit.tool
    def slow() -> str:
        time.sleep(8)
        return "late answer"

    @kit.agent
    def shop(question: str) -> threading.Thread:
        import contextvars

        thread = threading.Thread(target=contextvars.copy_context().run, args=(slow,))
        thread.start()
        return thread

    shop("what?").join()


def sigterm_under_uvicorn(kit: Kit) -> None:
    import signal
    import urllib.request

    import uvicorn

    @kit.agent
    def shop(question: str) -> str:
        return "answer of the shop"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            shop("what?")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    def visit() -> None:
        while not server.started:
            time.sleep(0.05)
        urllib.request.urlopen(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}").read()
        os.kill(os.getpid(), signal.SIGTERM)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    threading.Thread(target=visit, daemon=True).start()
    server.run()


def project_per_request(kit: Kit) -> None:
    @kit.agent
    def shop(question: str) -> str:
        return question

    for tenant in ("tenant-a", "tenant-b"):
        if sys.argv[1] == "pandaprobe_otel":
            from pandaprobe_otel import context

            with context(project=tenant):
                shop(tenant)
        else:
            shop(tenant)


def garbage_settings(kit: Kit) -> None:
    end_of_process(kit)


if __name__ == "__main__":
    set_up, program = globals()[sys.argv[1]], globals()[sys.argv[2]]
    kit = set_up(program is masked_foreign_span)
    program(kit)
    kit.flush()
