"""Start and stop of a gateway: in threads (`Gateway`) or in the foreground (`serve`)."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import IO, Any, Final, Self, TypeVar

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.gateway.access import Access
from pandaprobe_otel.gateway.grpc_server import grpc_server
from pandaprobe_otel.gateway.http_app import make_app
from pandaprobe_otel.gateway.intake import Intake
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.pipeline.opening import open_pipeline

_logger = logging.getLogger("pandaprobe_otel")
_Entered = TypeVar("_Entered")

MAX_BODY: Final = 16 << 20
_STOP_WITHIN_S: Final = 5.0
_BACKLOG: Final = 256
"""Maximum number of connections that wait to be accepted. They come in addition to the open ones."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Gateway:
    """An OTLP receiver that sends to PandaProbe, as a context manager.

    host: the address to listen on. http_port, grpc_port: the ports. 0: any free port. None: do not use this protocol.
    max_body: the largest request body in bytes, after decompression. A larger one gets status 413.
    token: the token that senders must pass as `Authorization: Bearer <token>`. Others get 401 or UNAUTHENTICATED. None:
    no check.
    certfile, keyfile: PEM files of TLS, for both protocols. None: no TLS.
    settings: settings of `init` (`api_key`, `endpoint`, `project_name`, `spool`, `redis_url`, `spans`, ...). Others
    come from the environment.

    After a success, the gateway keeps the spans of the request until PandaProbe has them. With a spool, they then
    survive kill -9. Senders are asked to wait (503 with Retry-After, RESOURCE_EXHAUSTED with RetryInfo) while the send
    queue is 90 % full. Raises ConfigError for invalid settings, and OSError if a port is in use or a file cannot be
    read.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        http_port: int | None = 0,
        grpc_port: int | None = 0,
        max_body: int = MAX_BODY,
        token: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        **settings: Any,
    ) -> None:
        self._host = host
        self._ports = (http_port, grpc_port)
        self._max_body = max_body
        self._access = Access(token=token or None, certfile=certfile, keyfile=keyfile)
        self._settings = settings
        self._stack: ExitStack | None = None
        self.http_port: int | None = None
        """The port for HTTP while it listens."""
        self.grpc_port: int | None = None
        """The port for gRPC while it listens."""
        self.pipeline: ExportPipeline | None = None

    def start(self) -> Self:
        """Start listening."""
        if self._stack is not None:
            return self
        self._access.check_files()
        if self._access.token is None and self._host not in _LOOPBACK:
            _logger.warning(
                "pandaprobe-otel: the gateway listens on %s and accepts traces from everybody who can reach it. Set a "
                "token (--token), or listen on this machine only.",
                self._host,
            )
        with ExitStack() as stack:
            pipeline = self._open_pipeline()
            stack.callback(pipeline.shutdown)
            intake = Intake(pipeline, max_body=self._max_body)
            stack.callback(intake.close)
            loop = stack.enter_context(_running_loop())
            http_port, grpc_port = self._ports
            if grpc_port is not None:
                address = f"{_bracketed(self._host)}:{grpc_port}"
                server = grpc_server(intake, address, self._access, within_s=_STOP_WITHIN_S)
                self.grpc_port = stack.enter_context(_inside(loop, server))
            if http_port is not None:
                self.http_port = stack.enter_context(_inside(loop, self._http(intake, http_port)))
            pipeline.begin()
            self.pipeline = pipeline
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        """Stop listening, deliver as much as the shutdown timeout allows, and leave the rest in the spool, if there is
        one.
        """
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    @property
    def url(self) -> str:
        """Base URL for HTTP, such as `http://127.0.0.1:4318`: the value of OTEL_EXPORTER_OTLP_ENDPOINT."""
        scheme = "http" if self._access.certfile is None else "https"
        return f"{scheme}://{_bracketed(self._host)}:{self.http_port}"

    def counts(self) -> dict[str, Any]:
        """Return the answer of `GET /health`: spans accepted, delivered, pending and dropped, by reason."""
        assert self.pipeline is not None
        status = self.pipeline.status()
        return {
            "spans_accepted": status.spans_ended,
            "spans_delivered": status.spans_delivered,
            "spans_pending": status.spans_pending,
            "spans_dropped": dict(status.spans_dropped),
            "scores_dropped": dict(status.scores_dropped),
            "fill": round(self.pipeline.fill(), 3),
        }

    def __enter__(self) -> Self:
        """Start the gateway."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the gateway."""
        self.stop()

    def _open_pipeline(self) -> ExportPipeline:
        config = Config.resolve(self._settings)
        pipeline = open_pipeline(config, counts_starts=False, is_gateway=True)
        if not isinstance(pipeline, ExportPipeline):
            problems = " ".join(problem.message for problem in config.problems)
            raise ConfigError(
                problems or "PANDAPROBE_ENABLED is false, so the gateway would send nothing: set it to true."
            )
        return pipeline

    @asynccontextmanager
    async def _http(self, intake: Intake, port: int) -> AsyncGenerator[int]:
        import uvicorn

        from pandaprobe_otel.gateway.http_app import connections

        app = make_app(intake, self._access, counts=self.counts)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.create_server((self._host, port), family=family, backlog=_BACKLOG) as listener:
            config = uvicorn.Config(
                app,
                http=connections(),
                backlog=_BACKLOG,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                ssl_certfile=self._access.certfile,
                ssl_keyfile=self._access.keyfile,
                timeout_graceful_shutdown=int(_STOP_WITHIN_S),
            )
            config.load()  # here, so that invalid certificate files raise at the start
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield listener.getsockname()[1]
            finally:
                app.state.end()
                server.should_exit = True
                await serving


def serve(host: str, *, out: IO[str] | None = None, **parameters: Any) -> None:
    """Run a gateway until Ctrl-C or SIGTERM. The parameters are those of `Gateway`."""
    to: IO[str] = sys.stdout if out is None else out
    ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with Gateway(host, **parameters) as gateway:
        assert gateway.pipeline is not None
        to.write(f"PandaProbe gateway, to {gateway.pipeline.status().endpoint}\n")
        if gateway.http_port is not None:
            to.write(f"  OTLP/HTTP  {gateway.url}/v1/traces\n")
        if gateway.grpc_port is not None:
            to.write(f"  OTLP/gRPC  {_bracketed(host)}:{gateway.grpc_port}\n")
        to.flush()
        while not ended.wait(0.5):
            pass


@contextmanager
def _running_loop() -> Generator[asyncio.AbstractEventLoop]:
    """Run a loop in a separate thread, which serves both protocols."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="pandaprobe-gateway", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _inside(loop: asyncio.AbstractEventLoop, manager: AbstractAsyncContextManager[_Entered]) -> Generator[_Entered]:
    """Enter and exit the context manager in the loop."""
    entered = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result()
    try:
        yield entered
    finally:
        asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
