"""Run real instrumentors and clients against a scripted model, and check the traces that arrive.

    python tests/mapping/live/live_runs.py                      all of them, with a table at the end
    python tests/mapping/live/live_runs.py NAME ...             the named instrumentors
    python tests/mapping/live/live_runs.py --write              all, table written to docs/live-instrumentors.md

Instrumentors of the same library cannot all be installed together, so each group has its own virtual environment.
`uv` (of the extra `dev`) creates it below $LIVE_VENVS (default: `pandaprobe-live` in the temporary directory), and it
is kept for the next run.
A program of `programs/` then runs in the environment; of this library, it only calls `init` or adds the processor.
A run needs a package index and takes minutes, so it is not part of the test suite.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.append(str(HERE.parents[1] / "support"))

from instrumentors import ENVIRONMENTS, INSTRUMENTORS, Instrumentor
from model_endpoint import PICTURE, WEATHER, Exchange, Json, ModelEndpoint

from outlines import outline
from strict_pandaprobe import StrictPandaProbe

VENVS = Path(os.environ.get("LIVE_VENVS", Path(tempfile.gettempdir()) / "pandaprobe-live"))
PAGE = ROOT / "docs" / "live-instrumentors.md"
TIMEOUT_S = 180
HEAD = """# Instrumentors that were run live

`nox -s live` (`tests/mapping/live/live_runs.py --write`) writes this page. It runs each real instrumentor with the real
client, in a separate environment, against a scripted model over HTTP. The traces go to a stand-in for PandaProbe on
loopback, through `init` or through our processor in the instrumentor's own provider. Each exchange with the model must
then be one model call with its model, messages, tool calls and tokens. The tokens must add up to the model's count, and
tools must have their arguments and results.

{good} of {all} record everything except the data in the last column. Node's instrumentors are tested with their
recordings; the Vercel AI SDK also runs against the local server."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run: the traces and their faults."""

    traces: tuple[Json, ...]
    calls: int
    faults: tuple[str, ...]


def environment(name: str) -> Path:
    """Return the path of an environment's Python; create the environment if it does not exist."""
    home = VENVS / name
    python, done = home / "bin" / "python", home / "requirements.txt"
    wanted = "\n".join(ENVIRONMENTS[name])
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        install: list[str | Path] = [
            *uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "-e",
            ROOT,
            *ENVIRONMENTS[name],
        ]
        subprocess.run(install, check=True)
        done.write_text(wanted, encoding="utf-8")
    return python


def run(instrumentor: Instrumentor, python: Path, folder: Path) -> Outcome:
    """Run one instrumentor's program with this Python, in this folder, and judge the traces."""
    with ModelEndpoint() as model, StrictPandaProbe() as probe:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),  # the user's settings must not apply
            "PANDAPROBE_ENDPOINT": probe.url,
            "PANDAPROBE_API_KEY": "sk_pp_live",
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "ANTHROPIC_BASE_URL": model.url,
            "GOOGLE_GEMINI_BASE_URL": model.url,
            **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"), "none"),
            **instrumentor.variables,
        }
        program: list[str | Path] = [python, HERE / "programs" / f"{instrumentor.program}.py", *instrumentor.arguments]
        try:
            ran = subprocess.run(program, env=variables, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Outcome((), 0, (f"did not end in {TIMEOUT_S} s",))
        traces = [
            {**trace.fields, "spans": sorted(trace.spans.values(), key=lambda span: span["started_at"])}
            for trace in probe.traces.values()
        ]
        traces.sort(key=lambda trace: trace["started_at"])
        if ran.returncode:
            return Outcome(tuple(traces), len(model.exchanges), (f"the program failed: {ran.stderr[-600:]}",))
        exchanges = [*model.exchanges, *instrumentor.told]
        found = faults(traces, exchanges, instrumentor.without)
        if any("t" in exchange.roles for exchange in exchanges) and instrumentor.runs_tools:
            found += tool_faults(traces, instrumentor.without, WEATHER)
        if not traces:
            found.append("no trace arrived")
        if "pandaprobe_otel/" in ran.stderr:
            found.append(f"an exception was printed: {ran.stderr[-600:]}")
        return Outcome(tuple(traces), len(exchanges), tuple(found))


def table(outcomes: dict[str, Outcome]) -> str:
    """Return the page: the tested instrumentors, their versions, and the parts that each does not record."""
    good = sum(not outcome.faults for outcome in outcomes.values())
    lines = [HEAD.format(good=good, all=len(outcomes)), ""]
    lines.append("| instrumentor | versions | model calls | traces | left out by the instrumentor |")
    lines.append("|---|---|---:|---:|---|")
    for name, outcome in outcomes.items():
        instrumentor = INSTRUMENTORS[name]
        versions = ", ".join(f"{requirement}" for requirement in ENVIRONMENTS[instrumentor.environment])
        left_out = "; ".join(PARTS[part] for part in sorted(instrumentor.without)) or ""
        result = left_out if not outcome.faults else f"**failed**: {outcome.faults[0].splitlines()[0]}"
        lines.append(f"| `{name}` | {versions} | {outcome.calls} | {len(outcome.traces)} | {result} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the chosen instrumentors; return 1 as the exit code if there is any fault."""
    parser = argparse.ArgumentParser(description="Run real instrumentors and judge their traces.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="instrumentors; all when none is given")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--outlines", action="store_true", help="print the traces as outlines")
    arguments = parser.parse_args()
    outcomes: dict[str, Outcome] = {}
    for name in arguments.names or INSTRUMENTORS:
        instrumentor = INSTRUMENTORS[name]
        outcome = outcomes[name] = run(instrumentor, environment(instrumentor.environment), VENVS)
        print(f"{'FAILED' if outcome.faults else 'ok    '} {name}: {outcome.calls} calls, {len(outcome.traces)} traces")
        for fault in outcome.faults:
            print(f"       {fault}")
        if arguments.outlines:
            print(outline([dict[str, Any](trace) for trace in outcome.traces]))
    print(f"{sum(not outcome.faults for outcome in outcomes.values())} of {len(outcomes)}")
    if arguments.write:
        PAGE.write_text(table(outcomes), encoding="utf-8")
    return int(any(outcome.faults for outcome in outcomes.values()))


# -- the checks of the traces -----------------------------------------------------------------------------------------

PARTS = {
    "content": "what was asked and answered",
    "system": "system messages",
    "question": "which message was whose (it joins them)",
    "picture": "messages with pictures",
    "model": "the model that answered",
    "stream_model": "the model that answered a stream",
    "stream_usage": "the right token counts of streams",
    "stream_reasoning": "reasoning tokens of streams",
    "stream_answer": "what a stream said",
    "cache": "cached tokens",
    "reasoning": "reasoning tokens",
    "errors": "calls that failed",
    "error_text": "the text of errors",
    "calls": "model calls",
    "first_calls": "all model calls of an agent but the last, except for their tokens",
    "arguments": "arguments and results of tools",
    "beside": "(each call is recorded in a second trace as well)",
}
"""Parts of an exchange that an instrumentor may omit, by the names in `Instrumentor.without`."""


@dataclass(frozen=True, slots=True)
class Span:
    """An LLM or EMBEDDING span, and the ids of all spans above it."""

    body: Json
    above: frozenset[str]


def faults(traces: Sequence[Json], exchanges: Sequence[Exchange], without: frozenset[str]) -> list[str]:
    """Return the faults, one a line; an empty list if the traces show the exchanges, except for the omitted parts."""
    calls = sorted(_calls(traces), key=lambda span: str(span.body["started_at"]))
    if "calls" in without:
        return [f"{len(calls)} model calls, expected none"] if calls else []
    wanted = [exchange for exchange in exchanges if not (exchange.error and "errors" in without)]
    found = list(_outermost(calls))
    problems = [problem for trace in traces for problem in _of_trace(trace)]
    if without.isdisjoint(("stream_usage", "beside")):
        problems += _of_sums(traces, wanted)
    if "first_calls" in without:
        wanted = [exchange for exchange in wanted if not exchange.calls]
        found = [span for span in found if not _has_calls(span)]
    if len(found) != len(wanted) and "beside" not in without:
        return [*problems, f"{len(found)} model calls in the traces, {len(wanted)} were made"]
    for number, exchange in enumerate(wanted, 1):
        told = [(_of_call(span, calls, exchange, without), span) for span in found if _may_be(span, exchange)]
        if not told:
            problems.append(f"call {number} is missing")
            continue
        wrong, span = min(told, key=lambda pair: len(pair[0]))
        found.remove(span)
        problems += [f"call {number}: {one}" for one in wrong]
    return problems


def tool_faults(traces: Sequence[Json], without: frozenset[str], result: str) -> list[str]:
    """Return the faults of successful tool spans: each needs its arguments and its result."""
    tools = [span for trace in traces for span in trace["spans"] if span["kind"] == "TOOL"]
    if not tools:
        return ["no span of a tool"]
    problems: list[str] = []
    for span in tools:
        told = json.dumps([span.get("input"), span.get("output")])
        if "arguments" not in without and span["status"] != "ERROR" and ("Lisbon" not in told or result not in told):
            problems.append(f"tool {span['name']}: arguments or result are missing: {told[:200]}")
    return problems


def _calls(traces: Sequence[Json]) -> Iterator[Span]:
    for trace in traces:
        by_id = {span["span_id"]: span for span in trace["spans"]}
        for span in trace["spans"]:
            if span["kind"] in ("LLM", "EMBEDDING"):
                above: set[str] = set()
                parent = span.get("parent_span_id")
                while parent in by_id and parent not in above:
                    above.add(parent)
                    parent = by_id[parent].get("parent_span_id")
                yield Span(span, frozenset(above))


def _outermost(calls: Sequence[Span]) -> Iterator[Span]:
    """Yield the calls that have no other call above them: of a call recorded twice, only the outer span."""
    ids = {span.body["span_id"] for span in calls}
    return (span for span in calls if ids.isdisjoint(span.above))


def _may_be(span: Span, exchange: Exchange) -> bool:
    failed, embeds = exchange.error is not None, not exchange.roles
    return bool(span.body["status"] == "ERROR") == failed and (span.body["kind"] == "EMBEDDING") == embeds


def _of_trace(trace: Json) -> Iterator[str]:
    if not [span for span in trace["spans"] if span.get("parent_span_id") is None]:
        yield f"trace {trace['name']} has no root"
    if trace["status"] not in ("COMPLETED", "ERROR"):
        yield f"trace {trace['name']} is {trace['status']}"


def _of_sums(traces: Sequence[Json], wanted: Sequence[Exchange]) -> list[str]:
    """Return faults of the token sums: every model call must count exactly once in the traces."""
    counted = [span.get("token_usage") or {} for trace in traces for span in trace["spans"]]
    used = [exchange.usage for exchange in wanted if exchange.usage is not None]
    problems: list[str] = []
    for key, total in (
        ("prompt_tokens", sum(usage.prompt for usage in used)),
        ("completion_tokens", sum(usage.completion for usage in used)),
    ):
        seen = sum(usage.get(key) or 0 for usage in counted)
        if seen != total:
            problems.append(f"{seen} {key} in the traces, {total} were used")
    return problems


def _of_call(span: Span, calls: Sequence[Span], exchange: Exchange, without: frozenset[str]) -> list[str]:
    body = span.body
    inner = [other.body for other in calls if body["span_id"] in other.above]
    problems: list[str] = []
    if exchange.error is not None:
        if "error_text" not in without and exchange.error not in body.get("error", ""):
            problems.append(f"error {body.get('error')!r}, not {exchange.error!r}")
    elif not _names_model(body, exchange, without):
        problems.append(f"model {body.get('model')}, not {exchange.model}")
    problems += _of_usage([body, *inner], exchange, without)
    if body["kind"] == "LLM" and "content" not in without:
        if "question" not in without and not ("picture" in without and exchange.question == PICTURE):
            problems += _of_input(body, exchange, without)
        if exchange.error is None and not (exchange.streamed and "stream_answer" in without):
            problems += _of_output(body, exchange)
    return problems


def _names_model(body: Json, exchange: Exchange, without: frozenset[str]) -> bool:
    asked_for_only = "model" in without or (exchange.streamed and "stream_model" in without)
    model = str(body.get("model"))
    return exchange.model.startswith(model) if asked_for_only else model == exchange.model


def _of_usage(bodies: Sequence[Json], exchange: Exchange, without: frozenset[str]) -> list[str]:
    used = [body["token_usage"] for body in bodies if "token_usage" in body]
    if "first_calls" in without:  # one span has the sum of its calls, which `_of_sums` checks
        return []
    if exchange.usage is None or (exchange.streamed and "stream_usage" in without):
        return [f"counts {used}, which nobody said"] if used and exchange.usage is None else []
    if len(used) != 1:
        return [f"counted {len(used)} times"]
    names = {"prompt_tokens": exchange.usage.prompt, "completion_tokens": exchange.usage.completion}
    if "cache" not in without:
        names |= {"cache_read_tokens": exchange.usage.cache_read, "cache_creation_tokens": exchange.usage.cache_write}
    if "reasoning" not in without and not (exchange.streamed and "stream_reasoning" in without):
        names["reasoning_tokens"] = exchange.usage.reasoning
    seen = {name: used[0].get(name, 0) for name in names}
    return [f"counts {seen}, not {names}"] if seen != names else []


def _of_input(body: Json, exchange: Exchange, without: frozenset[str]) -> Iterator[str]:
    asked = (body.get("input") or {}).get("messages", [])
    roles = "".join({"developer": "s"}.get(message["role"], message["role"][0]) for message in asked)
    wanted = exchange.roles.removeprefix("s") if "system" in without else exchange.roles
    if roles != wanted:
        yield f"messages {roles}, not {wanted}"
    if not any(exchange.question in _text(message["content"]) for message in asked):
        yield f"question {exchange.question!r} is missing"


def _of_output(body: Json, exchange: Exchange) -> Iterator[str]:
    said = (body.get("output") or {}).get("messages", [])
    text = " ".join(_text(message["content"]) for message in said)
    if exchange.text and exchange.text not in text:
        yield f"answer {text!r}, not {exchange.text!r}"
    if _calls_in(said) != exchange.calls:
        yield f"calls {_calls_in(said)}, not {exchange.calls}"


def _has_calls(span: Span) -> bool:
    return bool(_calls_in((span.body.get("output") or {}).get("messages", [])))


def _calls_in(messages: Sequence[Json]) -> tuple[tuple[str, Json], ...]:
    return tuple(
        (call["function"]["name"], json.loads(call["function"]["arguments"] or "{}"))
        for message in messages
        for call in message.get("tool_calls", ())
    )


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] if "text" in part else str(part) for part in content)
    return "" if content is None else str(content)


if __name__ == "__main__":
    sys.exit(main())
