"""httpx and httpx2: a client asks for its transport, and gets one that asks the recording first.

Whatever transport is configured is inside, so proxies, mounts and those of litellm are covered. What answers in the
process itself, such as an ASGI app under test, is left alone: what it asks is recorded, not what it is asked.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.replay.exchange import Exchange, beyond, pieces_of
from pandaprobe_otel.replay.hooks.patch import Patch, patch
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.open_recordings import current, inside
from pandaprobe_otel.replay.run import Run

_OF_BODY: Final = ("content-length", "content-encoding", "transfer-encoding")
