"""Settings of one local server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SERVER_VERSION: Final = "0.5.0"
"""Version of the PandaProbe server whose behaviour is reproduced, and that `/health` reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Options of a local server. `LocalServer` and `serve` document them."""

    auth: bool = False
    token: str | None = None
    api_keys: tuple[str, ...] = ()
    traces_per_minute: int | None = 100
    retry_after: bool = True
    window_s: float = 60.0
    allowed_hosts: frozenset[str] = frozenset({"localhost", "127.0.0.1", "::1"})
    judge_url: str | None = None
    judge_key: str | None = None
    judge_model: str | None = None
    embedding_model: str | None = None
    scripted_judge: bool = False
    monotonic: Callable[[], float] | None = None
    now_micros: Callable[[], int] | None = None
