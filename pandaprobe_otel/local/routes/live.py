"""`POST /local/live`: drafts of running traces, only for the pages. Nothing is stored, limited or billed."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.models.traces import LiveDrafts

# Not `ApiRoute`: programs send more often than the default limit allows.
router = APIRouter(include_in_schema=False)


@router.post("/local/live", status_code=204)
async def take_drafts(scope: Scope, drafts: LiveDrafts) -> Response:
    """Receive drafts of running traces."""
    if not scope.project.stored:  # The pages show only stored projects.
        await run_in_threadpool(scope.services.accounts.keep, scope.project)
    scope.services.live.take(scope.project_id, drafts.root)
    return Response(status_code=204)
