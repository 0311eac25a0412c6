"""The settings of a spool: its folder, and the destination of its requests, which no other server, project or
organization may receive. Loads no SQLite.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config

_logger = logging.getLogger("pandaprobe_otel")
SUFFIX: Final = ".sqlite"
"""Suffix of the files of requests, whose names begin with the digest of their destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An endpoint, a project and a key. Only a digest of the key is ever written."""

    endpoint: str
    project: str
    api_key: str = field(repr=False)

    @property
    def digest(self) -> str:
        """Name of files whose requests may be sent with these settings: 16 hexadecimal digits."""
        return _digest(self.endpoint, self.api_key, self.project)

    @property
    def key_digest(self) -> str:
        """Name of the server's limit, which counts by key, whatever the project (measured)."""
        return _digest(self.endpoint, self.api_key)


def destination_of(config: Config) -> Destination:
    """Return the destination that these settings name."""
    return Destination(endpoint=config.endpoint, project=config.project_name, api_key=config.key_identity)


def spool_folder(config: Config) -> Path:
    """Return the directory that the setting `spool` names."""
    return Path(config.spool or "")


def is_something_left(config: Config) -> bool:
    """Return whether an earlier process with these settings may have left requests in the directory."""
    names = f"{destination_of(config).digest}-*{SUFFIX}"
    return next(spool_folder(config).glob(names), None) is not None


def can_keep_a_spool() -> bool:
    """Return whether this Python can keep a spool; log a warning if it cannot."""
    if find_spec("fcntl") is None:
        reason = "this system has no file locks that end with their process"
    elif find_spec("_sqlite3") is None:
        reason = "this Python was built without SQLite"
    else:
        return True
    _logger.warning("pandaprobe-otel: the spool is disabled: %s. Traces wait in memory only.", reason)
    return False


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
