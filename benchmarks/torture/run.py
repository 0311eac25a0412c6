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
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pandaprobe_otel.protocols.chat import CHAT
from pandaprobe_otel.protocols.conversation import Choice, ModelAnswer, Tokens
from provider_server import ProviderServer, Received, Reply, json_reply

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


@dataclass(slots=True)
class Arrivals:
    """The spans that have arrived; the first `refusals` traces are refused, and everything else is accepted."""

    refusals: int
    spans: list[Arrived] = field(default_factory=list[Arrived])

    def answer(self, request: Received) -> Reply:
        """Answer a request as PandaProbe, a collector or a model does."""
        if request.path.endswith("/chat/completions"):
            return completion(is_stream=request.json.get("stream", False))
        is_otlp = request.path.endswith("v1/traces")
        if "traces" in request.path:
            if self.refusals:
                self.refusals -= 1
                return json_reply({}, status=401)
            is_packed = request.headers.get("content-encoding") == "gzip"
            body = gzip.decompress(request.body) if is_packed else request.body
            project = request.headers.get("x-project-name", "")
            for trace, span in otlp_spans(body) if is_otlp else pandaprobe_spans(request.path, body):
                self.spans.append(Arrived(trace, span["name"], json.dumps(span), project))
        accepted = json_reply({"trace_id": "t", "task_id": "t"}, status=202 if request.path == "/traces" else 200)
        return Reply() if is_otlp else accepted


def completion(*, is_stream: bool) -> Reply:
    """Return the answer of a model, of 100 tokens to 20, of which 80 were cached."""
    choice = Choice(text="On its way, with two parcels.", finish_reason="stop")
    tokens = Tokens(prompt=100, completion=20, cache_read=80)
    whole = CHAT.write_answer(
        ModelAnswer(response_id="chatcmpl-1", model="gpt-5-2026", choices=(choice,), tokens=tokens, created=1)
    )
    if is_stream:
        return Reply(chunks=list(CHAT.write_stream(whole)), content_type=CHAT.streamed_as)
    return json_reply(whole)


def otlp_spans(body: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the spans of a request of OTLP, each with the id of its trace."""
    for resource in MessageToDict(ExportTraceServiceRequest.FromString(body)).get("resourceSpans", ()):
        for scope in resource["scopeSpans"]:
            yield from ((span["traceId"], span) for span in scope["spans"])


def pandaprobe_spans(path: str, body: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the spans of a request of PandaProbe's API, each with the texts that the trace's receiver would show."""
    found: Any = json.loads(body or b"{}")
    trace = found if isinstance(found, dict) else {"trace_id": path.split("/")[-2], "spans": found}
    spans = trace.pop("spans", None) or []
    if trace.get("name") not in (None, *(span["name"] for span in spans)):
        spans.append(trace)  # an SDK for which the agent is the trace, and no span
    yield from ((str(trace.get("trace_id")), span) for span in spans)


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
    arrivals = Arrivals(refusals=1 if program == "expired_key" else 0)
    command: list[str | Path] = [python_of(sdk), HERE / "programs.py", sdk, program]
    with ProviderServer() as server, tempfile.TemporaryDirectory() as folder:
        server.script = arrivals.answer
        environment = {
            "PATH": os.environ["PATH"], "HOME": folder, "TORTURE_SERVER": server.url,
            "TORTURE_MODEL": f"{server.url}/model", "DO_NOT_TRACK": "true", "LOGFIRE_IGNORE_NO_CONFIG": "1",
            **(GARBAGE if program == "garbage_settings" else {}),
        }  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            return Run(arrivals.spans, None, str(error.stderr))
    return Run(arrivals.spans, done.returncode, done.stdout + done.stderr)


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
