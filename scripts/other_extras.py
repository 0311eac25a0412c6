"""Programs for the extras other than integrations, from their pages, with the expected output.

A program finds a local PandaProbe by its environment variables, and a Redis at `$REDIS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_SERVED: Final = """
{command} >said &
until grep -q http said; do sleep 0.1; done
kill $!
wait $! || true
cat said
"""
_AGENT: Final = """
import pandaprobe_otel

pandaprobe_otel.init()
with pandaprobe_otel.session("conversation-1"), pandaprobe_otel.agent("shop_assistant"):
    with pandaprobe_otel.llm("chat", model="gpt-4o-mini") as call:
        call.set_token_usage(prompt_tokens=1000, completion_tokens=1000)
pandaprobe_otel.flush()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Python or shell commands, and a text that their output must contain."""

    text: str
    says: str
    is_python: bool = False


OTHER_EXTRAS: Final[Mapping[str, Program]] = {
    "cli": Program(text="pandaprobe-otel traces list", says="nothing found"),
    "cost": Program(
        text=f"import os\n\nos.environ['PANDAPROBE_COMPUTE_COST'] = 'true'\n{_AGENT}"
        "(trace,) = pandaprobe_otel.Client().traces.iter()\nprint('cost', trace.total_cost)\n",
        says="cost 0.0",
        is_python=True,
    ),
    "demo": Program(text="pandaprobe-otel demo", says="Look at it in the browser"),
    "evals": Program(
        text="from pandaprobe_otel.evals import MatchesSchema, evaluate\n\n"
        "print(evaluate(['1'], str, [MatchesSchema({'type': 'integer'})]).rate)\n",
        says="1/1 passed",
        is_python=True,
    ),
    "gateway": Program(text=_SERVED.format(command="pandaprobe-otel gateway --http-port 0 --grpc-port 0"), says="OTLP"),
    "local": Program(text=_SERVED.format(command="pandaprobe-otel local --port 0"), says="PANDAPROBE_ENDPOINT="),
    "pandas": Program(
        text=f"{_AGENT}print(pandaprobe_otel.Client().sessions.get('conversation-1').to_pandas().shape)\n",
        says="(1, ",
        is_python=True,
    ),
    "redis": Program(
        text=f"import os\n\nos.environ['PANDAPROBE_REDIS_URL'] = os.environ['REDIS']\n{_AGENT}"
        "print(pandaprobe_otel.status().traces_delivered, 'delivered')\n",
        says="1 delivered",
        is_python=True,
    ),
}
