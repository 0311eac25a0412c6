"""A person's approval of a bill, through clients that can ask the person."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

from pandaprobe_otel.mcp_server.writer_tools import WriterTools


class Approval(BaseModel):
    """Answer of a person. If the client asks nobody, only the code of the bill confirms it."""

    approved: bool = Field(description="Run it, and be billed for it")


def approved_evaluate(writers: WriterTools) -> Any:
    """Return `evaluate` in a form that asks a person before it bills anything, if the client can."""

    def asked(context: Context[Any, Any], confirm: str | None = None) -> Approval | Elicit[Approval]:
        judgements = writers.judgements_of(confirm)
        if judgements is None or not _can_ask(context):
            return Approval(approved=True)
        return Elicit(f"PandaProbe would bill {judgements} judgements. Run the evaluation?", Approval)

    def evaluate(target: str, metrics: list[str], approval: Approval, confirm: str | None = None) -> CallToolResult:
        return writers.evaluate(target, metrics, confirm, approved=approval.approved)

    evaluate.__doc__ = WriterTools.evaluate.__doc__
    evaluate.__annotations__["approval"] = Annotated[Approval, Resolve(asked)]  # `asked` is not a name of the module.
    return evaluate


def _can_ask(context: Context[Any, Any]) -> bool:
    """Return whether the client shows forms. Older clients name no kind, since forms were the only kind of question."""
    told = context.client_capabilities
    asking = None if told is None else told.elicitation
    return asking is not None and (asking.form is not None or asking.url is None)
