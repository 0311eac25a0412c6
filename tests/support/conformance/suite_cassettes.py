"""The suite's own cassettes: each library's answers as its client gets them, recorded with the loopback provider.

`python tests/support/record_traffic.py` records them again. They are replayed with the newest and with old clients.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import vcr

from recorded_traffic import same_call

from .adapter import Adapter, adapters
from .cases import CASES, Case

CASSETTES: Final = Path(__file__).parents[2] / "integrations" / "cassettes" / "conformance"
ROOT: Final = "http://127.0.0.1:9"
"""Address of the provider in the cassettes, where no server listens."""
_BY_NAME: Final = {case.name: case for case in CASES}
_RECORDED: Final = {
    "plain": ("plain", False, "read to the end"),
    "plain_tools": ("plain", False, "tool calls"),
    "stream": ("stream", True, "read to the end"),
    "stream_tools": ("stream", True, "tool calls"),
    "refused": ("plain", False, "4xx"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One cassette: the call with this name, recorded in this case."""

    adapter: Adapter
    name: str
    call: str
    streamed: bool
    case: Case

    @property
    def path(self) -> Path:
        """The path of the cassette."""
        return CASSETTES / self.adapter.title.lower().replace(" ", "_") / f"{self.name}.yaml"


def recordings() -> Iterator[Recording]:
    """Yield all recordings that must exist."""
    for adapter in adapters():
        for name, (call, streamed, case) in _RECORDED.items():
            if f"{call}/{case}" not in adapter.without:
                yield Recording(adapter=adapter, name=name, call=call, streamed=streamed, case=_BY_NAME[case])


def player(mode: str) -> vcr.VCR:
    """Return a VCR that records neither the client nor times, and identifies a call by method and path."""
    made = vcr.VCR(
        record_mode=mode,
        match_on=["method and path"],
        before_record_request=_anonymous,
        before_record_response=_timeless,
        decode_compressed_response=True,
    )
    made.register_matcher("method and path", same_call)
    return made


def _anonymous(request: Any) -> Any:
    found = copy.copy(request)
    found.headers = {"content-type": "application/json"}
    address = urlsplit(request.uri)
    found.uri = urlunsplit((address.scheme, urlsplit(ROOT).netloc, address.path, address.query, ""))
    return found


def _timeless(response: Any) -> Any:
    kept = ("content-type", "x-amzn-errortype")
    headers = {name: value for name, value in response["headers"].items() if name.lower() in kept}
    return {**response, "headers": headers}
