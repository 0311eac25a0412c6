"""docs/providers.md, written from what has passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .adapter import adapters
from .cases import CASES
from .peers import OPENAI, OTHERS, PEERS, TYPES, Compared
from .results import Passed, Results, Row

PATH: Final = Path(__file__).parents[3] / "docs" / "providers.md"
_SHAPES: Final = ("plain", "stream", "helper", "raw", "with_streaming_response")
_HEAD: Final = """\
# Libraries of model providers

This page is written by the tests that it tells of: `WRITE_PAGES=1 pytest tests/integrations/conformance` writes it
anew, and without the variable they fail when it is out of date.

Each case runs twice against a loopback server, without and with the instrumentation. A case passes when

- what the app receives is the same: types, items, the exception with its text;
- there is exactly one span, it has ended, and it says what was sent, what was read, and (where the provider said so)
  tokens, model, finish reason and tool calls, put together from their fragments;
- a stream that was left early keeps what was read of it and is no error; an error of the provider is one;
- nothing is logged as a warning, and nothing is left in the context.

A client that sends its request when the app begins to read makes no call, and no span, for a stream that is never read.

## Cases that pass

Number of cases, synchronous and asynchronous. A dash: the client does not offer it.
"""
_OLDEST: Final = """\
## Oldest versions

`scripts/oldest_client.sh` runs each library's tests with the oldest version that is claimed; on Python 3.11 in November
2026 they passed with anthropic 0.27, boto3 and botocore 1.34.116 with aiobotocore 2.13.1, cohere 5.13, google-genai
1.50, groq 0.4, litellm 1.75, mistralai 1.9.11, ollama 0.4, openai 1.6 and together 2.0. What a version does not
offer is left out: litellm before 1.100 does not say which model answered a stream, and its forgotten streams end late.
The anthropic, groq and openai clients of 2024 need `httpx<0.28`.
"""
_BESIDE: Final = """\
## Beside others

The same cases of the openai client with other instrumentations, executed in November 2026 (openai 3.57.0; otel-genai
1.3b0, OpenInference 0.1.66, OpenLLMetry 0.62.4, Langfuse 5.0.4, Logfire 5.4, official PandaProbe SDK 0.6.0). T: output
tokens recorded, O: output recorded, in small letters: not; a stream that is left early has no tokens to record.
"raises": the app's own code fails.
"""


def page(results: Results) -> str:
    """The page's text."""
    return "\n".join([_HEAD, *_summary(results), "", *_details(results), _OLDEST, _BESIDE, *_comparison(results), ""])


def _summary(results: Results) -> Iterator[str]:
    yield _row("", *(f"`{shape}`" if "_" in shape else shape for shape in _SHAPES))
    yield _row(*["---"] * (1 + len(_SHAPES)))
    for adapter in adapters():
        yield _row(adapter.title, *(_count(results, adapter.title, shape) for shape in _SHAPES))


def _count(results: Results, library: str, shape: str) -> str:
    counts = [
        sum(len(cases) for row, cases in results.found.items() if row[:2] == (library, mode) and _belongs(row, shape))
        for mode in ("sync", "async")
    ]
    return " + ".join(map(str, counts)) if any(counts) else "–"


def _belongs(row: Row, shape: str) -> bool:
    return row.shape.partition(" ")[0] == shape


def _details(results: Results) -> Iterator[str]:
    for adapter in adapters():
        rows = [row for row in results.found if row.library == adapter.title]
        yield f"### {adapter.title}"
        yield ""
        yield _row("", *(case.name for case in CASES))
        yield _row(*["---"] * (1 + len(CASES)))
        for row in rows:
            yield _row(f"{row.shape}, {row.mode}", *("✓" if case.name in results.found[row] else "–" for case in CASES))
        yield ""


def _comparison(results: Results) -> Iterator[str]:
    yield _row("", "pandaprobe-otel", *PEERS)
    yield _row(*["---"] * (2 + len(PEERS)))
    yield _row("type of the stream", "`Stream`, as without", *TYPES)
    for compared in OPENAI:
        yield _row(compared.what, _ours(results, compared), *compared.peers)
    yield ""
    for library, text in OTHERS.items():
        yield f"- **{library}**: {text}"


def _ours(results: Results, compared: Compared) -> str:
    return "/".join(_letters(results.found.get(row, {}).get(case)) for row, case in compared.ours)


def _letters(passed: Passed | None) -> str:
    if passed is None:
        return "fails"
    return f"{'T' if passed.output_tokens else 't'}{'O' if passed.output else 'o'}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
