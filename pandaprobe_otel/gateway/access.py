"""Access to the gateway: an optional token for senders, and a TLS certificate."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.gateway.refusals import UNAUTHENTICATED, RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Access rules of both protocols. Without a token, anybody who can reach the gateway may send."""

    token: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def check_files(self) -> None:
        """Raise ConfigError if only one of the two files is set, and OSError if one cannot be read."""
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError("TLS needs both the certificate (certfile) and its key (keyfile).")
        self.certificate()

    def certificate(self) -> tuple[bytes, bytes] | None:
        """Return key and certificate in gRPC's order; None without TLS."""
        if self.certfile is None or self.keyfile is None:
            return None
        return Path(self.keyfile).read_bytes(), Path(self.certfile).read_bytes()

    def knows(self, authorization: str) -> bool:
        """Return whether an `Authorization` header has the token. The comparison takes constant time."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        is_token = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.token.encode())
        return is_token and scheme.lower() == "bearer"

    def check(self, authorization: str) -> None:
        """Raise RefusedError for senders without the token."""
        if not self.knows(authorization):
            raise RefusedError(
                "the gateway requires its token: set OTEL_EXPORTER_OTLP_HEADERS to authorization=Bearer%20<token>",
                http_status=401,
                code=UNAUTHENTICATED,
            )
