"""Recorded traffic of model providers (vcr cassettes): its calls, and their expected values.

The expected values are read from the recordings here, without any code of the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import vcr
import yaml

SHARED = Path(__file__).parents[3] / "shared" / "cassettes"
"""A collection of recordings beside the checkout; tests that need it are skipped without it."""
_VERSION = re.compile(r"^/v1(?:beta\d*)?(?=/)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One recorded request and its answer."""

    method: str
    url: str
    request: dict[str, Any]
    status: int
    content: bytes
    """Body of the answer."""

    @property
    def answer(self) -> str:
        """The answer as text."""
        return self.content.decode(errors="replace")

    @property
    def path(self) -> str:
        """Path of the URL."""
        return urlsplit(self.url).path

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """JSON of the answer, or of each of its events."""
        answer = self.answer.strip()
        if answer.startswith("{") and "\n{" not in answer:
            return [json.loads(answer)]
        lines = [line.removeprefix("data:").strip() for line in answer.splitlines() if line.startswith(("data:", "{"))]
        return [json.loads(line) for line in lines if line.startswith("{")]


def recordings(*providers: str) -> list[Path]:
    """Return the cassettes of these providers in the collection beside the checkout."""
    index = SHARED / "INDEX.tsv"
    if not index.exists():
        return []
    rows = [line.split("\t") for line in index.read_text(encoding="utf-8").splitlines()[1:]]
    return [SHARED / row[0] for row in rows if row[1] in providers]


def name(path: Path) -> str:
    """Return a short name of a cassette for its test."""
    return "/".join(path.parts[-2:])


def exchanges(path: Path) -> list[Exchange]:
    """Return every exchange of a cassette whose request has a JSON object or nothing as its body."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    recorded = cast("list[dict[str, Any]]", yaml.load(path.read_text(encoding="utf-8"), loader)["interactions"])
    found: list[Exchange] = []
    for interaction in recorded:
        request, answer = interaction["request"], interaction["response"]
        body: Any = request.get("body") or "{}"
        text = body.decode() if isinstance(body, bytes) else str(body)
        if not text.startswith("{"):
            continue
        status: Any = answer.get("status_code") or answer["status"]["code"]
        found.append(
            Exchange(
                method=request["method"].upper(),
                url=request["uri"],
                request=json.loads(text),
                status=int(status),
                content=_content(answer),
            )
        )
    return found


def _content(answer: dict[str, Any]) -> bytes:
    body: Any = answer.get("content") if "content" in answer else answer["body"].get("string")
    if isinstance(body, bytes):
        import gzip

        return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    return str(body or "").encode()


@contextmanager
def replayed(path: Path) -> Iterator[None]:
    """Answer HTTP requests from a cassette; nothing leaves the process."""
    old = "status_code:" in path.read_text(encoding="utf-8")
    player = vcr.VCR(record_mode="none", decode_compressed_response=not old)
    player.register_matcher("method and path", same_call)
    with player.use_cassette(str(path), match_on=["method and path"]):
        yield


def same_call(one: Any, other: Any) -> None:
    """Match method and path, regardless of the path's encoding and of its API version.

    Newer clients add the version to addresses that already had it, or ask for another version.
    """

    def call(request: Any) -> tuple[str, str]:
        return request.method.upper(), _VERSION.sub("", unquote(urlsplit(request.uri).path))

    assert call(one) == call(other)
