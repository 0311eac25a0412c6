"""Random OTLP requests that no exporter sends: damaged bytes, odd values, thousands of parts, odd encodings."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from otlp_senders import agent_trace, as_json, body_of, delimited, request_of_span, varint

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
KINDS: Final = ("", "text/plain", "application/json; charset=utf-16", "application/x-protobuf; x", "application/grpc")
ENCODINGS: Final = ("gzip", "deflate", "br", "zstd", "gzip, gzip", "identity", "x" * 300)
ODD: Final[tuple[Any, ...]] = (
    *(None, True, [], {}, "x", "", -1, 1.5, 10**30, "\0", "\ud800", "9" * 400, "NaN", "-5", "18446744073709551616"),
    *([[]], [None], {"a": 1}, {"stringValue": 1}, {"intValue": "x"}, {"arrayValue": {"values": [{"arrayValue": {}}]}}),
    *({"bytesValue": "?"}, {"kvlistValue": {"values": [{"key": None}]}}, {"doubleValue": "Infinity"}, "1" * 32),
)
_MOST_REPEATED: Final = 2
"""Maximum number of lists in a JSON request that are repeated: nested repetitions would make hundreds of megabytes."""
FIELDS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16, 100, 2**29 - 1)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, which `number` and the seed reproduce."""

    number: int
    body: bytes
    headers: dict[str, str]


class Mutations:
    """Generator of random requests from one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._may_repeat = 0
        request = agent_trace(3)
        self._plain = body_of(request)
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self._tree = json.loads(as_json(ExportTraceServiceRequest.FromString(self._plain)))

    def requests(self, count: int) -> Iterator[Sent]:
        """Yield this many requests of all kinds."""
        ways = (self._protobuf, self._json, self._json_bytes, self._parts, self._packed, self._encoded, self._odd_kind)
        weights = (8, 6, 2, 4, 3, 2, 1)
        for number in range(count):
            body, headers = self._rng.choices(ways, weights)[0]()
            yield Sent(number, body, headers)

    def _protobuf(self) -> tuple[bytes, dict[str, str]]:
        return self._damaged(self._plain), {"Content-Type": PROTOBUF}

    def _json(self) -> tuple[bytes, dict[str, str]]:
        self._may_repeat = _MOST_REPEATED
        return json.dumps(self._other(self._tree)).encode(), {"Content-Type": JSON}

    def _json_bytes(self) -> tuple[bytes, dict[str, str]]:
        return self._damaged(json.dumps(self._tree).encode()), {"Content-Type": JSON}

    def _parts(self) -> tuple[bytes, dict[str, str]]:
        """Return randomly nested and repeated fields, alone or within a span that may have valid ids."""
        rng = self._rng
        inner = b""
        for _ in range(rng.randint(1, 12)):
            inner = delimited(rng.choice(FIELDS), inner) * rng.choice((1, 1, 1, 2, 7, 60)) + rng.randbytes(
                rng.choice((0, 0, 2))
            )
            inner = inner[:100_000]
        span = delimited(1, b"t" * 16) + delimited(2, b"s" * 8) + inner
        return rng.choice((inner, request_of_span(span), request_of_span(inner))), {"Content-Type": PROTOBUF}

    def _packed(self) -> tuple[bytes, dict[str, str]]:
        packed = self._rng.choice((gzip.compress, zlib.compress))(self._plain)
        name = "deflate" if packed[:1] == b"\x78" else "gzip"
        return self._damaged(packed), {"Content-Type": PROTOBUF, "Content-Encoding": name}

    def _encoded(self) -> tuple[bytes, dict[str, str]]:
        body = gzip.compress(self._damaged(self._plain))
        return body, {"Content-Type": PROTOBUF, "Content-Encoding": self._rng.choice(ENCODINGS)}

    def _odd_kind(self) -> tuple[bytes, dict[str, str]]:
        return self._damaged(self._plain), {"Content-Type": self._rng.choice(KINDS)}

    def _damaged(self, body: bytes) -> bytes:
        """Return the body with up to eight changes: a byte replaced, bytes removed or inserted, or the end cut off."""
        rng, data = self._rng, bytearray(body)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(data) + 1)
            way = rng.random()
            if way < 0.5 and at < len(data):
                data[at] = rng.randrange(256)
            elif way < 0.7:
                del data[at : at + rng.randint(1, 20)]
            elif way < 0.95:
                data[at:at] = rng.choice(
                    (rng.randbytes(rng.randint(1, 8)), varint(rng.getrandbits(rng.choice((7, 31, 64)))))
                )
            else:
                del data[at:]
        return bytes(data)

    def _other(self, value: Any) -> Any:
        """Return the tree with an odd value in place of about every twelfth value."""
        if self._rng.random() < 0.08:
            return self._rng.choice(ODD)
        if isinstance(value, dict):
            return {key: self._other(inner) for key, inner in value.items()}
        if isinstance(value, list):
            others = [self._other(inner) for inner in value]
            many = self._rng.choice((1, 1, 1, 1, 1, 1, 40)) > 1 and self._may_repeat > 0
            self._may_repeat -= many
            return others * (40 if many else 1)
        return value
