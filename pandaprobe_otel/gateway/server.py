"""Start and stop a gateway: in threads (`Gateway`) or in the foreground (`serve`)."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import IO, Any, Final, Self

from pandaprobe_otel.config import Config
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.gateway.grpc_server import GrpcServer
from pandaprobe_otel.gateway.http_app import make_app
from pandaprobe_otel.gateway.intake import Intake
from pandaprobe_otel.pipeline import ExportPipeline, open_pipeline

HTTP_PORT: Final = 4318
GRPC_PORT: Final = 4317
"""The ports that OTLP has at IANA."""
MAX_BODY: Final = 16 << 20
_STOP_WITHIN_S: Final = 5.0


class Gateway:
    """Receives OTLP and sends to PandaProbe, as a context manager.

    host: where to listen. http_port, grpc_port: 0 takes a free one, None does not listen.
    max_body: bytes of a request's body, inflated; a larger one is answered with 413.
    settings: as for `init` (`api_key`, `endpoint`, `project_name`, `spool`, `redis_url`, `spans`, ...); what is not
        given comes from the environment.

    A request is answered with success when its spans are kept: with a spool they then survive kill -9. Senders are
    asked to wait (503 with Retry-After, RESOURCE_EXHAUSTED with RetryInfo) while what waits for PandaProbe takes 90 %
    of its bound. Raises ConfigError for settings that cannot work, OSError for a port that is taken.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        http_port: int | None = 0,
        grpc_port: int | None = 0,
        max_body: int = MAX_BODY,
        **settings: Any,
    ) -> None:
        self._host = host
        self._ports = (http_port, grpc_port)
        self._max_body = max_body
        self._settings = settings
        self._stack: ExitStack | None = None
        self.http_port: int | None = None
        """Where it listens for HTTP."""
        self.grpc_port: int | None = None
        """Where it listens for gRPC."""
        self.pipeline: ExportPipeline | None = None

    def start(self) -> Self:
        """Begin to listen."""
        if self._stack is not None:
            return self
        with ExitStack() as stack:
            pipeline = self._open_pipeline()
            stack.callback(pipeline.shutdown)
            intake = Intake(pipeline)
            http_port, grpc_port = self._ports
            if grpc_port is not None:
                server = GrpcServer(intake, f"{_bracketed(self._host)}:{grpc_port}", max_body=self._max_body)
                stack.callback(server.stop, _STOP_WITHIN_S)
                self.grpc_port = server.port
            if http_port is not None:
                self.http_port = stack.enter_context(self._http(intake, http_port))
            pipeline.begin()
            self.pipeline = pipeline
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        """Stop listening, deliver what can be delivered within the shutdown timeout, leave the rest in the spool."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    @property
    def url(self) -> str:
        """Base URL for HTTP, such as `http://127.0.0.1:4318`: the value of OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://{_bracketed(self._host)}:{self.http_port}"

    def counts(self) -> dict[str, Any]:
        """What `GET /health` says: spans accepted, delivered, pending and dropped, by reason."""
        assert self.pipeline is not None
        status = self.pipeline.status()
        return {
            "spans_accepted": status.spans_ended,
            "spans_delivered": status.spans_delivered,
            "spans_pending": status.spans_pending,
            "spans_dropped": dict(status.spans_dropped),
            "fill": round(self.pipeline.fill(), 3),
        }

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _open_pipeline(self) -> ExportPipeline:
        config = Config.resolve(self._settings)
        pipeline = open_pipeline(config, counts_starts=False, is_gateway=True)
        if not isinstance(pipeline, ExportPipeline):
            problems = " ".join(problem.message for problem in config.problems)
            raise ConfigError(problems or "PANDAPROBE_ENABLED is false: a gateway that sends nothing is of no use.")
        return pipeline

    @contextmanager
    def _http(self, intake: Intake, port: int) -> Generator[int]:
        import uvicorn

        app = make_app(intake, max_body=self._max_body, counts=self.counts)
        with _listen(self._host, port) as listener:
            config = uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=int(_STOP_WITHIN_S),
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(
                target=server.run, kwargs={"sockets": [listener]}, name="pandaprobe-gateway", daemon=True
            )
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                server.should_exit = True
                thread.join(_STOP_WITHIN_S + 1.0)


def serve(
    host: str,
    *,
    http_port: int | None,
    grpc_port: int | None,
    max_body: int,
    out: IO[str] | None = None,
    **settings: Any,
) -> None:
    """Run a gateway until Ctrl-C or SIGTERM; the parameters are those of `Gateway`."""
    to: IO[str] = sys.stdout if out is None else out
    ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with Gateway(host, http_port=http_port, grpc_port=grpc_port, max_body=max_body, **settings) as gateway:
        assert gateway.pipeline is not None
        to.write(f"PandaProbe gateway, to {gateway.pipeline.status().endpoint}\n")
        if gateway.http_port is not None:
            to.write(f"  OTLP/HTTP  {gateway.url}/v1/traces\n")
        if gateway.grpc_port is not None:
            to.write(f"  OTLP/gRPC  {_bracketed(host)}:{gateway.grpc_port}\n")
        to.flush()
        while not ended.wait(0.5):
            pass


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
