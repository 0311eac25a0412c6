"""OTLP receivers inside the local server, so that programs in other languages need no separate gateway.

Spans take the same path as in a gateway: they are assembled into traces, mapped, and posted to this server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from pandaprobe_otel.local.settings import LocalSettings

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.budget import LeasedBucket

_MOST_PROJECTS: Final = 16
"""Bound on projects, since each has its own threads."""
_MAX_BODY: Final = 16 << 20
_NEEDS_EXTRA: Final = (
    "OTLP needs the extra `gateway` in the server's environment: pip install 'pandaprobe-otel[gateway]'"
)
_TOO_MANY: Final = f"OTLP is accepted for at most {_MOST_PROJECTS} projects: restart this server to use others"


@dataclass(slots=True)
class OtlpReceivers:
    """OTLP receivers, one for each key and project, each created by its first request."""

    settings: LocalSettings
    _apps: dict[tuple[str, str], ASGIApp] = field(default_factory=dict[tuple[str, str], ASGIApp])
    _closers: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def app(self, url: str, key: str, project: str) -> ASGIApp:
        """Return the receiver for a project. Raises 501 without the extra, and 429 above the limit of projects."""
        with self._lock:
            found = self._apps.get((key, project))
            if found is None:
                if len(self._apps) >= _MOST_PROJECTS:
                    raise HTTPException(429, _TOO_MANY)
                found = self._apps[key, project] = self._open(url, key, project)
            return found

    def close(self) -> None:
        """Deliver what has arrived, and close the receivers."""
        with self._lock:
            closers, self._closers = self._closers, []
            self._apps.clear()
        for close in closers:
            close()

    def _open(self, url: str, key: str, project: str) -> ASGIApp:
        try:
            from pandaprobe_otel.gateway.access import Access
            from pandaprobe_otel.gateway.http_app import make_app
            from pandaprobe_otel.gateway.intake import Intake
        except ImportError:
            raise HTTPException(501, _NEEDS_EXTRA) from None
        from pandaprobe_otel.config.resolve import Config
        from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline

        given = {"endpoint": url, "api_key": key, "project_name": project, "enabled": True}
        config = Config.resolve(
            given, environ={}
        )  # The environment variables are meant for programs, not for this server.
        pipeline = ExportPipeline(config, counts_starts=False, is_gateway=True, bucket=self._bucket())
        intake = Intake(pipeline, max_body=_MAX_BODY)
        pipeline.begin()
        self._closers += [intake.close, pipeline.shutdown]
        return make_app(intake, Access(), counts=dict[str, Any])

    def _bucket(self) -> Callable[[], LeasedBucket] | None:
        """Return an unlimited budget if the server has no limit; None for the usual budget."""
        if self.settings.limit is not None:
            return None
        from pandaprobe_otel.delivery.budget import LeasedBucket

        return lambda: LeasedBucket(window_s=0.0, margin_s=0.0)
