"""One process's access to the tokens of a key in Redis. `redis_scripts` has the code that runs in Redis."""

from __future__ import annotations

import inspect
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pandaprobe_otel.delivery.budget import CUT_COUNTS_S, MARGIN_S, REQUEST_TIMEOUT_S, UNANSWERED_EXTRA_S, WINDOW_S
from pandaprobe_otel.delivery.fleet.redis_scripts import AGREE, LEAVE, LOOK, PUT_BACK, TAKE

import_module("secrets")  # otherwise the client imports it

ANSWER_WITHIN_S: Final = 0.2
"""Redis answers in less than a millisecond. After this time, it counts as unreachable."""
_KEYS: Final = ("leases", "members", "fleet", "parts", "silent")


class FleetUnreachableError(Exception):
    """Redis does not answer, or answers unexpectedly. The text quotes Redis or its client."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to a request for a token. It includes the number of tokens to use if Redis becomes unreachable."""

    token: int | None
    wait_s: float
    part: int


class RedisLeases:
    """Client of the scripts in Redis, for one process. Not thread-safe.

    Every method raises FleetUnreachableError instead of waiting for longer than about `answer_within_s` seconds. Only
    the look-up of the host's name may take longer.
    """

    def __init__(
        self,
        url: str,
        key_digest: str,
        *,
        window_s: float = WINDOW_S,
        margin_s: float = MARGIN_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        answer_within_s: float = ANSWER_WITHIN_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._keys = tuple(f"pandaprobe:{{{key_digest}}}:{name}" for name in _KEYS)
        self.margin_s = margin_s
        self._hold_s = window_s + margin_s
        self._grace_s = request_timeout_s + UNANSWERED_EXTRA_S
        self.life_s = self._hold_s + self._grace_s
        """Longest time for which a lent token can be needed."""
        self._answer_within_s = answer_within_s
        self._monotonic = monotonic
        self._member = uuid.uuid4().hex
        self._epoch = ""
        self._calls = 0
        self._lent_at = -math.inf
        self._client: Any = None
        self._scripts: dict[str, Any] = {}

    def take(self, most: int, part: int) -> Reply:
        """Lend a token, unless `most` or more tokens of the fleet are lent or have not returned yet.

        `part` is the newest part that this process got from Redis, or 0 if it does not rely on a part any more.
        """
        now = self._monotonic()
        reply = self._ask(TAKE, part, most, _ms(self.life_s))
        if reply.token is not None:
            self._lent_at = now
        elif reply.wait_s > self._hold_s + UNANSWERED_EXTRA_S:  # of a request under way, which may be answered at once
            return replace(reply, wait_s=reply.wait_s - self._grace_s)
        return reply

    def look(self, part: int, outstanding_s: Sequence[float] = ()) -> Reply:
        """Renew this process's part of the tokens, and report the remaining seconds of those lent without Redis."""
        return self._ask(LOOK, part, *map(_ms, outstanding_s))

    def leave(self) -> None:
        """Give this process's part of the tokens back, because this process sends nothing more."""
        self._run(LEAVE, self._member)

    def put_back(self, token: int, wait_s: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        self._run(PUT_BACK, token, _ms(wait_s))

    def publish_cutoff(self, cut: float) -> float:
        """Publish a cut (0: none), and return the fleet's highest cut of the last ten minutes."""
        said = self._run(AGREE, cut, _ms(CUT_COUNTS_S))
        try:
            return float(said)
        except (TypeError, ValueError) as error:
            raise FleetUnreachableError(f"an unexpected answer to the script: {said!r:.80}") from error

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        self._scripts.clear()
        if client is not None:
            client.close()

    def _ask(self, script: str, part: int, *arguments: int) -> Reply:
        holds_some = self._monotonic() - self._lent_at < self.life_s
        known = self._epoch if holds_some else ""  # without tokens, it loses nothing when Redis forgets
        self._calls += 1
        said = self._run(script, self._member, known, uuid.uuid4().hex, _ms(self.life_s), part, self._calls, *arguments)
        try:
            token, wait_ms, new_part, epoch = said
            reply = Reply(int(token) or None, float(wait_ms) / 1000, int(new_part))
            self._epoch = epoch.decode("ascii")
        except (TypeError, ValueError, AttributeError) as error:
            raise FleetUnreachableError(f"an unexpected answer to the script: {said!r:.80}") from error
        return reply

    def _run(self, script: str, *arguments: Any) -> Any:
        try:
            with suppress_instrumentation():
                return self._script(script)(keys=self._keys, args=arguments)
        except Exception as error:
            raise FleetUnreachableError(str(error) or type(error).__name__) from error

    def _script(self, text: str) -> Any:
        if text not in self._scripts:
            if self._client is None:
                self._client = _connect(self._url, self._answer_within_s)
            self._scripts[text] = self._client.register_script(text)
        return self._scripts[text]


def _connect(url: str, answer_within_s: float) -> Any:
    class Untraced(Redis):
        """Client that skips the wrappers of instrumentations: before version 0.60, these ignore their suppression."""

        def execute_command(self, *args: Any, **options: Any) -> Any:
            command: Any = getattr(Redis, "execute_command")  # noqa: B009 - its type is not known to the last part
            return inspect.unwrap(command)(self, *args, **options)

    return Untraced.from_url(  # pyright: ignore[reportUnknownMemberType] - its options have no types
        url,
        socket_timeout=answer_within_s,
        socket_connect_timeout=answer_within_s,
        retry=Retry(NoBackoff(), 0),
        client_name="pandaprobe-otel",
    )


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
