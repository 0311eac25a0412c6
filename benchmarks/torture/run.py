"""Run twenty programs that break tracing against this library and its peers, and print the table.

    python benchmarks/torture/run.py install           # an environment for each SDK
    python benchmarks/torture/run.py [PROGRAM ...]     # the table; all programs take about ten minutes
    python benchmarks/torture/run.py --write           # the table, into docs/comparison.md

Each program comes from an error that was reported to a tracing SDK. It runs in its own process, with a real client, a
scripted model and a server on loopback that reads PandaProbe's API and OTLP. A check decides by what has arrived, by
the exit code and by what the program has printed. The environments are below $TORTURE_VENVS (default:
pandaprobe-torture in the temporary directory).
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
VENVS: Final = Path(os.environ.get("TORTURE_VENVS") or Path(tempfile.gettempdir()) / "pandaprobe-torture")
OTLP: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
SDKS: Final = {
    "pandaprobe_otel": ("pandaprobe-otel", ("-e", f"{ROOT}[openai]")),
    "pandaprobe": ("official SDK", ("pandaprobe", "opentelemetry-api")),
    "langfuse": ("Langfuse", ("langfuse",)),
    "logfire": ("Logfire", ("logfire", *OTLP)),
    "openinference": ("OpenInference", ("openinference-instrumentation-openai", *OTLP)),
    "openllmetry": ("OpenLLMetry", ("traceloop-sdk>=0.60", "httpx")),  # pip may go back a year otherwise
}
GARBAGE: Final = {
    "OTEL_BSP_SCHEDULE_DELAY": "soon", "OTEL_TRACES_SAMPLER": "sometimes", "OTEL_ATTRIBUTE_COUNT_LIMIT": "many",
    "PANDAPROBE_SAMPLE_RATE": "half", "PANDAPROBE_BATCH_SIZE": "x", "LANGFUSE_SAMPLE_RATE": "half",
    "LANGFUSE_FLUSH_AT": "x", "LOGFIRE_MIN_LEVEL": "loud", "TRACELOOP_TRACE_CONTENT": "perhaps",
}  # fmt: skip
PAGE: Final = ROOT / "docs" / "comparison.md"
BEGIN, END = "<!-- torture: begin -->", "<!-- torture: end -->"
TIMEOUT_S: Final = 180
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Arrived:
    """One span that has arrived; `text` has all of its content."""

    trace: str
    name: str
    text: str
    project: str


@dataclass(frozen=True, slots=True)
class Run:
    """Traces, exit code and output of one program."""

    spans: Sequence[Arrived]
    code: int | None
    printed: str

    def has(self, text: str) -> bool:
        return any(text in span.text for span in self.spans)

    def named(self, name: str) -> list[Arrived]:
        return [span for span in self.spans if name in span.name]

    @property
    def is_clean(self) -> bool:
        """True if the program has ended as without tracing, and nothing was raised behind its back."""
        return self.code == 0 and "Traceback" not in self.printed


def completion(request: Any) -> tuple[bytes, str]:
    """Return the answer of a model, of 100 tokens to 20, of which 80 were cached; as a stream if it is wanted."""
    about = {"id": "chatcmpl-1", "created": 1, "model": "gpt-5-2026"}
    usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    usage["prompt_tokens_details"] = {"cached_tokens": 80}
    words = ("On its way, ", "with two parcels.")
    if not request.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(words)}, "finish_reason": "stop"}
        return json.dumps({**about, "object": "chat.completion", "choices": [choice], "usage": usage}).encode(), JSON
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}]}
        for word in words
    ]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
    events = [json.dumps({**about, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode(), "text/event-stream"


class Server:
    """A scripted model, and a server that accepts everything, after it has refused the first `refusals` traces."""

    def __init__(self, refusals: int) -> None:
        self.spans: list[Arrived] = []
        self.refusals = refusals
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.path.endswith("/chat/completions"):
                    self.answer(200, *completion(json.loads(body)))
                    return
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                is_trace = "traces" in self.path
                refused = is_trace and server.refusals > 0
                if refused:
                    server.refusals -= 1
                elif is_trace:
                    server.read(self.path, body, self.headers.get("x-project-name", ""))
                answer = b"" if self.path.endswith("v1/traces") else b'{"trace_id":"t","task_id":"t"}'
                self.answer(401 if refused else 202 if self.path == "/traces" else 200, answer)

            def answer(self, status: int, body: bytes, kind: str = JSON) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PATCH = do_PUT = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def read(self, path: str, body: bytes, project: str) -> None:
        """Keep the spans of a request, each with those texts that the receiver of the trace would show."""
        if path.endswith("v1/traces"):
            request = MessageToDict(ExportTraceServiceRequest.FromString(body))
            for resource in request.get("resourceSpans", ()):
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        self.spans.append(Arrived(span["traceId"], span["name"], json.dumps(span), project))
            return
        found: Any = json.loads(body or b"{}")
        trace = found if isinstance(found, dict) else {"trace_id": path.split("/")[-2], "spans": found}
        spans = trace.pop("spans", None) or []
        if trace.get("name") not in (None, *(span["name"] for span in spans)):
            spans.append(trace)  # an SDK for which the agent is the trace, and no span
        for span in spans:
            self.spans.append(Arrived(str(trace.get("trace_id")), span["name"], json.dumps(span), project))

    def close(self) -> None:
        self._server.shutdown()


def tokens(run: Run) -> int:
    """Return all tokens that the spans state together, in PandaProbe's or OpenTelemetry's names, or Langfuse's."""
    total = 0
    for span in run.spans:
        record = json.loads(span.text)
        usage = record.get("token_usage") or {}
        total += usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
        counts = {one["key"]: one["value"] for one in record.get("attributes") or () if isinstance(one, dict)}
        for sides in (
            ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
            ("llm.token_count.prompt", "llm.token_count.completion"),
        ):
            total += sum(int(counts.get(side, {}).get("intValue", 0)) for side in sides)
        if (details := counts.get("langfuse.observation.usage_details")) is not None:
            sides_of = json.loads(details["stringValue"]).items()
            total += sum(value for name, value in sides_of if not name.startswith("total") and isinstance(value, int))
    return total


SECRET: Final = "sk-proj-T0rtureT0rtureT0rtureT0rture42"
CARD: Final = "4111 1111 1111 1111"
CHECKS: Final[dict[str, tuple[str, Callable[[Run], bool]]]] = {
    "cached_results": (
        "a traced function behind `lru_cache` stays cached",
        lambda r: r.is_clean and len(r.named("price")) == 1,
    ),
    "unsampled_parent": (
        "a caller that samples nothing does not silence the agent without a word",
        lambda r: r.has("answer of the shop") or "not recorded" in r.printed,
    ),
    "pool_threads": (
        "tools in a thread pool are in the agent's trace",
        lambda r: (
            len(r.named("look_up")) == 3 and {s.trace for s in r.named("look_up")} == {s.trace for s in r.named("shop")}
        ),
    ),
    "key_in_error": (
        "a key in an error's text does not leave the process",
        lambda r: bool(r.spans) and not r.has(SECRET),
    ),
    "evicted_attributes": (
        "200 attributes of the app do not evict the question",
        lambda r: r.has("the question of the user"),
    ),
    "fork_after_use": (
        "after a fork, parent and child arrive once each",
        lambda r: [len(r.named("parent")), len(r.named("child"))] == [1, 1],
    ),
    "abandoned_stream": (
        "an abandoned stream is recorded with what was read",
        lambda r: r.is_clean and any("On" in s.text and "stream" in s.text for s in r.spans if "shop" not in s.name),
    ),
    "raw_response": ("`with_raw_response` is recorded, and unchanged", lambda r: r.is_clean and r.has("On its way")),
    "generator_closed_elsewhere": (
        "a generator closed in another task raises nothing",
        lambda r: r.is_clean and "detach" not in r.printed and bool(r.named("shop")),
    ),
    "interrupt": (
        "an interrupted agent arrives, marked",
        lambda r: r.code == 0 and any("KeyboardInterrupt" in s.text for s in r.named("shop")),
    ),
    "consecutive_runs": ("three runs are three traces", lambda r: len({s.trace for s in r.named("shop")}) == 3),
    "closures": ("arguments are released after the call", lambda r: r.is_clean),
    "masked_foreign_span": (
        "a mask covers spans of other libraries",
        lambda r: bool(r.named("shop")) and not r.has(CARD),
    ),
    "end_of_process": ("a script that just ends has delivered", lambda r: r.is_clean and r.has("answer of the shop")),
    "expired_key": (
        "a key that is refused once, then accepted, loses nothing",
        lambda r: all(r.has(f"question {n}") for n in range(3)),
    ),
    "sums_and_caches": ("tokens of a call, with cached ones, are counted once", lambda r: tokens(r) == 120),
    "late_span": (
        "a span that ends after its agent is in the trace",
        lambda r: r.has("late answer") and len({s.trace for s in r.spans}) == 1,
    ),
    "sigterm_under_uvicorn": ("SIGTERM to uvicorn loses nothing", lambda r: r.has("answer of the shop")),
    "project_per_request": (
        "two tenants of one process, two projects",
        lambda r: {s.project for s in r.spans} == {"tenant-a", "tenant-b"},
    ),
    "garbage_settings": (
        "nonsense in variables neither stops the app nor its traces",
        lambda r: r.is_clean and bool(r.named("shop")),
    ),
}


def python_of(sdk: str) -> Path:
    return VENVS / sdk / "bin" / "python"


def run(sdk: str, program: str) -> Run:
    """Run one program with one SDK."""
    server = Server(refusals=1 if program == "expired_key" else 0)
    environment = {
        "PATH": os.environ["PATH"], "TORTURE_SERVER": server.url, "TORTURE_MODEL": f"{server.url}/model",
        "DO_NOT_TRACK": "true", "LOGFIRE_IGNORE_NO_CONFIG": "1", **(GARBAGE if program == "garbage_settings" else {}),
    }  # fmt: skip
    command: list[str | Path] = [python_of(sdk), HERE / "programs.py", sdk, program]
    with tempfile.TemporaryDirectory() as folder:
        environment["HOME"] = folder
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
            code, printed = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired as error:
            code, printed = None, str(error.stderr)
    server.close()
    return Run(server.spans, code, printed)


def install() -> None:
    """Make the environments."""
    for sdk, (_, packages) in SDKS.items():
        if not python_of(sdk).exists():
            venv.create(VENVS / sdk, with_pip=True)
        command: list[str | Path] = [python_of(sdk), "-m", "pip", "install", "-q", *packages, "openai", "uvicorn"]
        subprocess.run(command, check=True)
        print(f"{sdk}: {VENVS / sdk}")


def main(arguments: Sequence[str]) -> None:
    programs = [name for name in arguments if name in CHECKS] or [*CHECKS]
    sdks = [sdk for sdk in SDKS if python_of(sdk).exists()]
    lines = [f"| program | {' | '.join(SDKS[sdk][0] for sdk in sdks)} |", f"|---|{':-:|' * len(sdks)}"]
    for program in programs:
        words, right = CHECKS[program]
        verdicts = []
        for sdk in sdks:
            ran = run(sdk, program)
            verdicts.append("yes" if right(ran) else "no")
            if verdicts[-1] == "no" and "--why" in arguments:
                print(
                    f"{program} {sdk}: {ran.code} {[s.name for s in ran.spans]} {ran.printed[-300:]}", file=sys.stderr
                )
        lines.append(f"| {words} | {' | '.join(verdicts)} |")
        print(lines[-1], flush=True)
    if "--write" in arguments:
        text = PAGE.read_text(encoding="utf-8")
        head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(f"{head}{BEGIN}\n{chr(10).join(lines)}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    install() if sys.argv[1:] == ["install"] else main(sys.argv[1:])
