"""Names of the official SDK that have no name of their own here. `pandaprobe_otel` finds them too."""

from __future__ import annotations

from contextvars import Token
from typing import TYPE_CHECKING

from pandaprobe_otel.capture.trace_context import current_session, current_user
from pandaprobe_otel.capture.tracers import begin_first_use
from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.registry import wrap

if TYPE_CHECKING:
    from pandaprobe_otel.bootstrap import PandaProbe

wrap_anthropic = wrap_bedrock = wrap_gemini = wrap_litellm = wrap_mistral = wrap_openai = wrap


def get_client() -> PandaProbe | None:
    """Return the handle of `init`; before its call, start from the environment or return None."""
    with loading("pandaprobe_otel.bootstrap"):
        from pandaprobe_otel.bootstrap import current
    if current() is None:
        begin_first_use(quietly=True)
    return current()


def set_current_session_id(session_id: str | None) -> Token[str | None]:
    """Set the session from here on; return a token for `reset_current_session_id`."""
    return current_session.set(None if session_id is None else str(session_id))


def reset_current_session_id(token: Token[str | None]) -> None:
    """Undo a `set_current_session_id`."""
    current_session.reset(token)


def set_current_user_id(user_id: str | None) -> Token[str | None]:
    """Set the user from here on; return a token for `reset_current_user_id`."""
    return current_user.set(None if user_id is None else str(user_id))


def reset_current_user_id(token: Token[str | None]) -> None:
    """Undo a `set_current_user_id`."""
    current_user.reset(token)
