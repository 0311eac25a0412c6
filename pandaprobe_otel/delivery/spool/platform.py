"""Requirements of the spool: abilities of Python and of the system."""

from __future__ import annotations

import logging
from importlib.util import find_spec

_logger = logging.getLogger("pandaprobe_otel")


def can_keep_a_spool() -> bool:
    """Return whether this Python can keep a spool; log a warning if it cannot. Loads nothing."""
    if find_spec("fcntl") is None:
        reason = "this system has no file locks that end with their process"
    elif find_spec("_sqlite3") is None:
        reason = "this Python was built without SQLite"
    else:
        return True
    _logger.warning("pandaprobe-otel: the spool is disabled: %s. Traces wait in memory only.", reason)
    return False
