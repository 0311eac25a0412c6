"""Clients that libraries keep or that tests leave open, dropped where no other test can find them."""

from __future__ import annotations

import gc
import sys
import warnings


def drop_clients() -> None:
    """Drop the clients that litellm keeps for ten minutes, and collect what tests have left.

    Neither closes its connections, and the garbage collector reports each in the test in which it happens to find it.
    """
    kept = getattr(sys.modules.get("litellm"), "in_memory_llm_clients_cache", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        if kept is not None:
            kept.flush_cache()
        gc.collect()
