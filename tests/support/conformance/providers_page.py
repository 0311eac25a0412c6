"""The page docs/providers.md, written from the cases that exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pages import section

from .adapter import adapters, cloud_adapters
from .cases import CASES
from .short_bodies import shortened, wires

PATH: Final = Path(__file__).parents[3] / "docs" / "providers.md"
_SHAPES: Final = ("plain", "stream", "helper", "raw", "with_streaming_response")
_HEAD: Final = """\
# Libraries of model providers

The tests that this page describes also write it: `WRITE_PAGES=1 pytest -m ""
tests/integrations/conformance/test_conformance.py`. Without the variable, they fail if the page is out of date. Another
test and a command write the sections about traced methods and about the oldest versions.

Each case runs twice against a loopback server, without and with the instrumentation. A case passes when

- the app receives the same: types, items, and the exception with its text;
- there is exactly one span, and it has ended. It contains the request, the part of the answer that was read, and, if
  the provider sent them, tokens, model, finish reason and tool calls, merged from their fragments;
- the span of a stream that was left early contains the part that was read, and is marked as partial. A cancelled call
  or stream is marked as cancelled. Neither is an error, but an error of the provider is one;
- no warning is logged, and the context is restored.

Some clients send a request only when the app starts to read. For a stream that is never read, they make no call and no
span.

## Cases that pass

Number of cases, synchronous and asynchronous. A dash means that the client does not offer it.
"""
_CUT: Final = """\
## Streams that stop at any byte

Each night, `make outer` cuts two streams of each library after each of their bytes, with and without tool calls. The
body ends there, or the connection breaks, and the synchronous or asynchronous client reads it. The app receives the
same as without the instrumentation, including the exception and its text, and one span contains the received part.
The streams contain the first two events of each kind, with characters of several bytes. For each change, the tests
try only some of the places.
"""
OTHERS_WRITE: Final = ("What is traced, and what is not", "Oldest versions", "Alongside others")
"""Sections that others write: `test_surface.py`, `nox -s clients_oldest`, and people."""


class Row(NamedTuple):
    """One way to call one library."""

    library: str
    mode: str
    shape: str


Results = Mapping[Row, Collection[str]]
"""Names of the cases, by row."""


def page(results: Results) -> str:
    """Return the page's text."""
    before = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
    others = [f"## {heading}\n\n{section(before, heading)}\n" for heading in OTHERS_WRITE]
    return "\n".join(
        [
            _HEAD,
            *_summary(results),
            "",
            *_details(results),
            _CUT,
            *_cuts(),
            "",
            *others,
        ]
    )


def _summary(results: Results) -> Iterator[str]:
    yield _row("", *(f"`{shape}`" if "_" in shape else shape for shape in _SHAPES))
    yield _row(*["---"] * (1 + len(_SHAPES)))
    for adapter in (*adapters(), *cloud_adapters()):
        yield _row(adapter.title, *(_count(results, adapter.title, shape) for shape in _SHAPES))


def _count(results: Results, library: str, shape: str) -> str:
    counts = [
        sum(len(cases) for row, cases in results.items() if row[:2] == (library, mode) and _belongs(row, shape))
        for mode in ("sync", "async")
    ]
    return " + ".join(map(str, counts)) if any(counts) else "–"


def _belongs(row: Row, shape: str) -> bool:
    return row.shape.partition(" ")[0] == shape


def _details(results: Results) -> Iterator[str]:
    """Yield a table with a row for all calls that pass the same cases."""
    alike: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for adapter in adapters():
        for row in (each for each in results if each.library == adapter.title):
            passed = tuple("✓" if case.name in results[row] else "–" for case in CASES)
            alike.setdefault((row.mode, *passed), {}).setdefault(adapter.title, []).append(row.shape)
    yield _row("calls", "", *(case.name for case in CASES))
    yield _row(*["---"] * (2 + len(CASES)))
    for cells, libraries in alike.items():
        yield _row("; ".join(f"{library}: {', '.join(shapes)}" for library, shapes in libraries.items()), *cells)
    yield ""


def _cuts() -> Iterator[str]:
    bodies = [wire for adapter in map(shortened, adapters()) for _, wire in wires(adapter, "stream")]
    sizes = [len(b"".join(wire.chunks)) for wire in bodies]
    cuts = sum(4 * (size + 1) for size in sizes)
    yield f"These are {len(sizes)} streams of {sum(sizes):,} bytes, cut in {cuts:,} ways."


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
