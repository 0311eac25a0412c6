"""Requirements of the spool: abilities of Python and of the system."""

from __future__ import annotations

import logging
from importlib.util import find_spec


def obstacle() -> str | None:
    """Return the missing ability, in words; None if nothing is missing. Loads nothing."""
    if find_spec("fcntl") is None:
        return "this system has no file locks that end with their process"
    if find_spec("_sqlite3") is None:
        return "this Python was built without SQLite"
    return None


def can_keep_a_spool() -> bool:
    """Return whether this Python can keep a spool; log a warning if it cannot."""
    reason = obstacle()
    if reason is not None:
        logging.getLogger("pandaprobe_otel").warning(
            "pandaprobe-otel: the spool is disabled: %s. Traces wait in memory only.", reason
        )
    return reason is None
