"""Settings of one local server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final

from pandaprobe_otel.errors import ConfigError

SERVER_VERSION: Final = "0.5.0"
"""Version of the PandaProbe server whose behaviour is reproduced, and that `/health` reports."""
MEMORY: Final = ":memory:"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(repr=False, eq=False)
class LocalSettings:
    """Options of a local server. `LocalServer` documents them.

    Raises ConfigError if other machines could use the server without a key.
    """

    db: str | os.PathLike[str] = MEMORY
    host: str = "127.0.0.1"
    port: int = 0
    _: KW_ONLY
    api_keys: Sequence[str] = ()
    auth: bool = False
    token: str | None = None
    limit: int | None = 100
    window_s: float = 60.0
    retry_after: bool = True
    fail: float = 0.0
    slow_s: float = 0.0
    scripted_judge: bool = False
    judge_url: str | None = None
    judge_key: str | None = None
    judge_model: str | None = None
    embedding_model: str | None = None

    def __post_init__(self) -> None:
        """Check the address, and generate the token."""
        if self.host not in _LOOPBACK and not self.auth:
            raise ConfigError(
                f"other machines can reach host={self.host!r}: pass auth=True (--auth), so that keys are checked."
            )
        self.token = self.token or (secrets.token_urlsafe(24) if self.auth else None)

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Names by which requests may address the server; `*` means any."""
        return _LOOPBACK if self.host in _LOOPBACK else frozenset({"*"})
