"""Names of the official SDK that have no name of their own here. `pandaprobe_otel` finds them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.capture.trace_context import current_session, current_user, set_session, set_user
from pandaprobe_otel.capture.tracers import begin_first_use
from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.registry import wrap

if TYPE_CHECKING:
    from pandaprobe_otel.bootstrap import PandaProbe

set_current_session_id, set_current_user_id = set_session, set_user
reset_current_session_id, reset_current_user_id = current_session.reset, current_user.reset
wrap_anthropic = wrap_bedrock = wrap_gemini = wrap_litellm = wrap_mistral = wrap_openai = wrap


def get_client() -> PandaProbe | None:
    """Return the handle of `init`; before its call, start from the environment or return None."""
    with loading("pandaprobe_otel.bootstrap"):
        from pandaprobe_otel.bootstrap import current
    if current() is None:
        begin_first_use(quietly=True)
    return current()
