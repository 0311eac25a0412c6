"""Whose parcels a file of the spool holds: they may go to no other server, project or organization."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An endpoint, a project and a key. The key itself is never written down, only a digest of it."""

    endpoint: str
    project: str
    api_key: str = field(repr=False)

    @property
    def digest(self) -> str:
        """Names the files whose parcels may be sent with these settings. 16 hexadecimal digits."""
        return _digest(self.endpoint, self.api_key, self.project)

    @property
    def key_digest(self) -> str:
        """Names what the server's limit counts by: the key, whatever the project (measured)."""
        return _digest(self.endpoint, self.api_key)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
