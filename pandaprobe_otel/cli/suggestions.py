"""Suggestions for mistyped commands."""

from __future__ import annotations

import re
from difflib import get_close_matches

import click


def with_suggestion(error: click.UsageError) -> click.UsageError:
    """Return the error with the most similar command (`traces` for `trace`). Other errors are returned unchanged."""
    unknown = re.match(r"No such command '([^']*)'", error.message)
    if unknown is None or error.ctx is None or not isinstance(error.ctx.command, click.Group):
        return error
    group, prefix = error.ctx.command, error.ctx.command_path.partition(" ")[2]
    near = get_close_matches(unknown[1], group.list_commands(error.ctx), n=1, cutoff=0.6)
    if not near or "Did you mean" in error.message:
        return error
    meant = f"{prefix} {near[0]}".strip()
    return click.UsageError(f"{error.message.rstrip('.')}. Did you mean '{meant}'?", error.ctx)
