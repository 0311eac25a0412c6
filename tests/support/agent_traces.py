"""Agent traces as PandaProbe stores them, read over HTTP and navigated as trees."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import dedent, indent
from typing import Any

from outlines import outline
from pandaprobe_otel import Client, PandaProbe
from pandaprobe_otel.demo.scripted_endpoint import Exchange
from pandaprobe_otel.local import LocalServer

Span = Mapping[str, Any]
_WITHIN_S = 60.0
_USAGE = re.compile(r" \| \d+/\d+(?: [cwr]\d+)*(?=$| !)", re.MULTILINE)
_FINAL = {"OK", "ERROR"}


@dataclass(frozen=True)
class AgentTrace:
    """One trace. `body` is the API's answer without its null values."""

    body: Mapping[str, Any]

    @cached_property
    def spans(self) -> list[dict[str, Any]]:
        """The spans without null values, in order of their start."""
        return [_present(span) for span in self.body["spans"]]

    @property
    def root(self) -> Span:
        """The only span without a parent."""
        (root,) = [span for span in self.spans if "parent_span_id" not in span]
        return root

    def all(self, kind: str | None = None, name: str | None = None) -> list[Span]:
        """Return the spans of this kind and name, in order of their start."""
        return [span for span in self.spans if kind in (None, span["kind"]) and name in (None, span["name"])]

    def only(self, kind: str | None = None, name: str | None = None) -> Span:
        """Return the only span of this kind and name."""
        found = self.all(kind, name)
        assert len(found) == 1, f"{len(found)} spans of {kind} {name} in\n{self}"
        return found[0]

    def children(self, span: Span) -> list[Span]:
        """Return the children of this span."""
        return [each for each in self.spans if each.get("parent_span_id") == span["span_id"]]

    def above(self, span: Span) -> Iterator[Span]:
        """Yield the ancestors of this span, from its parent to the root."""
        by_id = {each["span_id"]: each for each in self.spans}
        while (parent := span.get("parent_span_id")) is not None:
            span = by_id[parent]
            yield span

    def below(self, span: Span) -> list[Span]:
        """Return the descendants of this span, at any depth."""
        return [each for each in self.spans if span["span_id"] in [over["span_id"] for over in self.above(each)]]

    def is_like(self, written: str) -> None:
        """Assert that the trace's outline (see `outlines`) equals this text, ignoring the text's common indentation.

        A text without token counts is compared without them; `is_sound` compares the counts with the exchanges.
        """
        expected, found = dedent(written).strip("\n").rstrip(), str(self)
        if not _USAGE.search(expected):
            found = _USAGE.sub("", found)
        assert found == expected, f"the trace is\n{indent(found, '    ')}\nand not\n{indent(expected, '    ')}"

    def is_sound(self, exchanges: Sequence[Exchange]) -> None:
        """Assert the rules for every trace of an agent whose model calls are these exchanges, all successful.

        There is one root, every parent exists, every span has ended, and children are within their trace. Each model
        call has one LLM span with its model and tokens, and no other span has tokens.
        """
        ids = [span["span_id"] for span in self.spans]
        assert len(set(ids)) == len(ids)
        assert self.root["span_id"] in ids
        assert {span["parent_span_id"] for span in self.spans if "parent_span_id" in span} <= set(ids), str(self)
        assert [span["name"] for span in self.spans if "ended_at" not in span or not _is_final(span)] == []
        assert Counter(map(_told_usage, self.all("LLM"))) == Counter(map(_true_usage, exchanges)), str(self)
        assert [span["name"] for span in self.spans if "token_usage" in span and span["kind"] != "LLM"] == []
        assert self.body["total_tokens"] == tokens_of(exchanges)

    def __str__(self) -> str:
        return outline([{**self.body, "spans": self.spans}])


def tokens_of(exchanges: Sequence[Exchange]) -> int:
    """Return the sum of the input and output tokens of these calls."""
    return sum(each.usage.prompt_tokens + each.usage.completion_tokens for each in exchanges)


class SentTraces:
    """The traces that arrived after this object was created."""

    def __init__(self, server: LocalServer, handle: PandaProbe) -> None:
        self.server = server
        self._handle = handle
        with self._client() as client:
            self._seen = {str(each.trace_id) for each in client.traces.iter()}

    def new(self, count: int) -> list[AgentTrace]:
        """Return exactly this many new traces, in order of their start; fail if there are more or fewer."""
        assert self._handle.flush(_WITHIN_S)
        deadline = time.monotonic() + _WITHIN_S
        while len(bodies := self._read()) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        self._seen |= {body["trace_id"] for body in bodies}
        found = [AgentTrace(body) for body in sorted(bodies, key=lambda body: str(body["started_at"]))]
        assert len(found) == count, f"{len(found)} traces instead of {count}:\n" + "\n".join(map(str, found))
        return found

    def one(self) -> AgentTrace:
        """Return the only new trace."""
        return self.new(1)[0]

    def _client(self) -> Client:
        return Client(endpoint=self.server.url, api_key=self.server.api_key, project_name="frameworks")

    def _read(self) -> list[dict[str, Any]]:
        with self._client() as client:
            fresh = [each.trace_id for each in client.traces.iter() if str(each.trace_id) not in self._seen]
            return [_present(client.traces.get(trace_id).model_dump(mode="json")) for trace_id in fresh]


def _is_final(span: Span) -> bool:
    waits = span.get("metadata", {}).get("outcome") == "interrupted"
    return (span["status"] == "UNSET") if waits else span["status"] in _FINAL


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _told_usage(span: Span) -> tuple[str, int, int]:
    usage = span.get("token_usage", {})
    return span.get("model", "-"), usage.get("prompt_tokens", -1), usage.get("completion_tokens", -1)


def _true_usage(exchange: Exchange) -> tuple[str, int, int]:
    return exchange.model, exchange.usage.prompt_tokens, exchange.usage.completion_tokens
